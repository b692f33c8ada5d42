//! Compiles the BPF programs of the repository's `bpf/` with clang into `OUT_DIR`, where `src/bpf` embeds them.
//!
//! The object must depend on the sources alone, not on the directory they are built in: its hash is how a running
//! agent recognises programs that an equal one attached. `CLANG` names another compiler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let root = required("CARGO_MANIFEST_DIR").join("../../bpf");
    let source = root.join("programs/tunnel.c");
    let header = root.join("abi/tunnel.h");
    for input in [&source, &header] {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    let object = required("OUT_DIR").join("tunnel.o");
    if let Err(reason) = compile(&root, &source, &object) {
        println!("cargo::error=compile {}: {reason}", source.display());
    }
}

fn required(name: &str) -> PathBuf {
    PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name} for build scripts")))
}

fn compile(root: &Path, source: &Path, object: &Path) -> Result<(), String> {
    let root = fs::canonicalize(root).map_err(|error| error.to_string())?;
    let source = fs::canonicalize(source).map_err(|error| error.to_string())?;
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let output = Command::new(&clang)
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror"])
        .arg(format!("-ffile-prefix-map={}=bpf", root.display()))
        .arg("-fdebug-compilation-dir=bpf")
        // asm/types.h is the machine's, and the BPF target looks only in /usr/include
        .arg(format!("-I/usr/include/{arch}-linux-gnu"))
        .arg("-I")
        .arg(root.join("abi"))
        .arg("-c")
        .arg(&source)
        .arg("-o")
        .arg(object)
        .output()
        .map_err(|error| format!("{clang}: {error}; install clang and libbpf-dev, or name a compiler in CLANG"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).replace('\n', " | ");
    let hint = if stderr.contains("file not found") { "; install libbpf-dev and linux-libc-dev" } else { "" };
    Err(format!("{clang} {}{hint}: {stderr}", output.status))
}
