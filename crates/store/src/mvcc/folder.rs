//! The data directory and its files: private, and each there whole or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::fcntl::OFlag;

/// Mode bits by which others than the owner get at something.
const OTHERS: u32 = 0o077;
/// Mode bit of a directory in which many make files and each removes its own.
const STICKY: u32 = 0o1000;
/// What the names of all files of a store begin with.
const DATABASE_STEM: &str = "store.";

/// What a data directory turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    /// It is there, and private.
    Private,
    /// Others use it, so that it must not be closed to them.
    Common {
        mode: u32,
        /// Something of theirs.
        theirs: String,
    },
}

/// Makes a directory, mode 0700, or closes one that is there to others.
///
/// It must be the store's own: not one like `/tmp` or `/var/lib`, whose mode is not the store's to change.
pub(crate) fn make_private(directory: &Path, database: &Path) -> io::Result<Folder> {
    let found = match fs::metadata(directory) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return Err(ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_directory(directory)?;
            return Ok(Folder::Private);
        }
        Err(error) => return Err(error),
    };
    let mode = found.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(Folder::Private);
    }
    if !database.exists()
        && let Some(theirs) = foreign(directory, mode)?
    {
        return Ok(Folder::Common { mode, theirs });
    }
    fs::set_permissions(directory, Permissions::from_mode(mode & 0o700))?;
    Ok(Folder::Private)
}

/// Finds what no store makes: a folder, or in a directory in which everybody may make files, anything at all. The folder
/// that every ext4 file system has is nobody's.
fn foreign(directory: &Path, mode: u32) -> io::Result<Option<String>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name.starts_with(DATABASE_STEM) || name == "lost+found";
        if !ours && (mode & STICKY != 0 || entry.file_type()?.is_dir()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn create_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes an empty file, mode 0600, in the place of what a process that was cut off may have left there.
pub(crate) fn create_file(file: &Path) -> io::Result<File> {
    remove_file(file)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

/// Makes an empty file, mode 0600, that is gone when it is closed, in the folder of `beside`.
pub(crate) fn create_nameless(beside: &Path) -> io::Result<File> {
    let folder = beside.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(OFlag::O_TMPFILE.bits()).open(folder) {
        // not every file system has files without a name
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::IsADirectory) => {
            let name = folder.join(format!(".{DATABASE_STEM}{}-{}", std::process::id(), super::storage::random()));
            let file = options.create_new(true).open(&name)?;
            fs::remove_file(&name)?;
            Ok(file)
        }
        opened => opened,
    }
}

/// Removes a file if it is there.
pub(crate) fn remove_file(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Closes an opened file to others.
pub(crate) fn close_to_others(file: &File) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o177 == 0 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Gives a finished file its name, unless another start has been faster.
pub(crate) fn publish(directory: &Path, new: &Path, file: &Path) -> io::Result<()> {
    match fs::hard_link(new, file) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    remove_file(new)?;
    File::open(directory)?.sync_all()
}
