//! The pods' MTU, handed to the CNI plugin in a file as Calico's agent does.

use model::Mtu;
use std::path::{Path, PathBuf};
use std::{fs, io, process};

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}: {cause}", .path.display())]
pub(crate) struct MtuFileError {
    path: PathBuf,
    cause: io::Error,
}

/// Writes the file `mtu` in `directory`, whole or not at all, unless it says the same already; tells whether it wrote.
pub(crate) fn publish(directory: &Path, mtu: Mtu) -> Result<bool, MtuFileError> {
    let path = directory.join("mtu");
    write(directory, &path, &mtu.0.to_string()).map_err(|cause| MtuFileError { path, cause })
}

fn write(directory: &Path, path: &Path, text: &str) -> io::Result<bool> {
    match fs::read_to_string(path) {
        Ok(present) if present == text => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(directory)?,
        Err(error) => return Err(error),
    }
    let draft = directory.join(format!(".mtu.{}", process::id()));
    fs::write(&draft, text)?;
    fs::rename(&draft, path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_decimal_text_and_written_once() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let directory = directory.path().join("calico");
        assert!(publish(&directory, Mtu(1480)).expect("written"));
        assert!(!publish(&directory, Mtu(1480)).expect("left alone"));
        assert_eq!(fs::read_to_string(directory.join("mtu")).expect("there"), "1480");
        assert!(publish(&directory, Mtu(1430)).expect("rewritten"));
        assert_eq!(fs::read_to_string(directory.join("mtu")).expect("there"), "1430");
        assert_eq!(fs::read_dir(&directory).expect("there").count(), 1);
    }
}
