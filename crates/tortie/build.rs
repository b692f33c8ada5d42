//! Links the program at a fixed address, as Go links what it stands beside: a CNI call is a process of its own, and
//! fifty thousand relocations at each start would be a tenth of its time and of its memory.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-no-pie");
}
