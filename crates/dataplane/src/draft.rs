//! Files that are there whole or not at all.

use std::path::Path;
use std::{fs, io};

/// Writes `text` to the file `draft`, and gives that the name `path` in the same folder. A draft that cannot have it goes.
pub(crate) fn write_whole(draft: &Path, path: &Path, text: &str) -> io::Result<()> {
    let written = fs::write(draft, text).and_then(|()| fs::rename(draft, path));
    if written.is_err() {
        let _ = fs::remove_file(draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_or_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let (draft, path) = (folder.path().join(".draft"), folder.path().join("file"));
        for text in ["one", "two"] {
            write_whole(&draft, &path, text).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
        let taken = folder.path().join("folder");
        fs::create_dir(&taken).expect("made");
        write_whole(&draft, &taken, "three").expect_err("a folder stands there");
        assert!(!draft.exists());
    }
}
