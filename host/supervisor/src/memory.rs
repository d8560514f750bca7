//! Files in memory. None of them is ever executed.

use std::fs::File;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, Result};

/// A new one.
pub(crate) fn file_in_memory(name: &str, flags: MemfdFlags) -> Result<File> {
    // Some machines refuse one that could be executed (`vm.memfd_noexec`), and some kernels do not know the other kind. That
    // is about `execve` alone: code within may be mapped and run.
    let created = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        created => created,
    };
    created.map(File::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_cannot_be_executed_where_the_kernel_has_a_word_for_it() {
        let file = file_in_memory("test", MemfdFlags::CLOEXEC).expect("memory");
        let mode = file.metadata().expect("open").permissions().mode() & 0o777;
        let known = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).is_ok();
        assert_eq!(mode & 0o111 == 0, known, "{mode:o}");
    }
}
