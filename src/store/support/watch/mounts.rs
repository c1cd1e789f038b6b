//! What is mounted below a directory: a file system that is mounted over a directory, or taken away, is no change in it.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[derive(Debug)]
pub(super) struct Mounts {
    /// Tells when anything is mounted or unmounted anywhere: <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>.
    table: File,
    root: PathBuf,
    found: Vec<Mount>,
    /// Files that are mounted one by one, as containers are given: who writes them elsewhere changes no directory here.
    files: Vec<String>,
}

/// The number of a mount and where it is.
type Mount = (String, PathBuf);

impl Mounts {
    pub(super) fn below(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        let table = File::open("/proc/self/mountinfo")?;
        let found = read(&table, &root)?;
        let files = found.iter().filter_map(|(_, point)| {
            let below = point.strip_prefix(&root).ok()?.to_str()?;
            point.is_file().then(|| below.to_owned())
        });
        Ok(Self {
            files: files.collect(),
            table,
            root,
            found,
        })
    }

    /// Files that are mounted one by one.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// Whether something is mounted or unmounted at or below the root since. What is true once may be false the next time.
    pub(super) fn have_changed(&self) -> bool {
        let mut asked = [PollFd::new(&self.table, PollFlags::PRI)];
        match poll(&mut asked, Some(&Timespec::default())) {
            Ok(0) => false,
            Ok(_) => read(&self.table, &self.root).map_or(true, |now| now != self.found),
            Err(_) => true,
        }
    }
}

fn read(mut table: &File, root: &Path) -> io::Result<Vec<Mount>> {
    let mut text = Vec::new();
    table.rewind()?;
    table.read_to_end(&mut text)?;
    Ok(found(&text, root))
}

fn found(table: &[u8], root: &Path) -> Vec<Mount> {
    let mounts = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let number = String::from_utf8_lossy(fields.next()?).into_owned();
        let point = PathBuf::from(std::ffi::OsString::from_vec(unescaped(fields.nth(3)?)));
        Some((number, point))
    });
    mounts
        .filter(|(_, point)| point.starts_with(root))
        .collect()
}

/// Blanks, tabs, line ends and backslashes stand in the table as three octal digits.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let digits = rest.get(..3).and_then(|digits| {
            let digits = str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match digits {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                text = &rest[3..];
            }
            _ => {
                plain.push(*first);
                text = rest;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_tells_what_is_mounted_at_or_below_a_directory() {
        let table = b"36 35 98:0 / / rw - ext4 /dev/root rw\n\
            37 36 0:3 / /srv/keys rw - tmpfs none rw\n\
            38 37 0:4 /x /srv/keys/my\\040team/a.json rw shared:1 - ext4 /dev/x rw\n\
            39 36 0:5 / /srv/keys-of-others rw - tmpfs none rw\n";
        let found = found(table, Path::new("/srv/keys"));
        let points: Vec<_> = found
            .iter()
            .map(|(number, point)| (number.as_str(), point.to_str().unwrap()))
            .collect();
        assert_eq!(
            points,
            [("37", "/srv/keys"), ("38", "/srv/keys/my team/a.json")]
        );
        assert_eq!(unescaped(br"a\134b\9"), br"a\b\9");
    }

    #[test]
    fn the_system_has_such_a_table() {
        let home = tempfile::tempdir().unwrap();
        let mounts = Mounts::below(home.path()).unwrap();
        assert!(mounts.files().is_empty() && !mounts.have_changed());
        assert!(!Mounts::below(Path::new("/")).unwrap().found.is_empty());
    }
}
