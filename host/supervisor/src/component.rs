//! Where the bytes of a component come from.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::MemfdFlags;

use crate::memory::file_in_memory;

/// A component that has not been looked at yet. The supervisor never reads it; the builder does.
#[derive(Clone, Debug)]
pub enum Component {
    /// A file of the host.
    File(PathBuf),
    /// Bytes within this program.
    BuiltIn {
        /// What to call it in messages.
        name: &'static str,
        /// The component.
        bytes: &'static [u8],
    },
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// No such file.
    #[error("there is no file `{}`", .path.display())]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// Something, but not a file.
    #[error("`{}` is a directory, not a component", .path.display())]
    Directory {
        /// What was asked for.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("failed to open `{name}`: {source}")]
    Open {
        /// What was asked for.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl ComponentError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => {
                Some("`wasmcluster serve` without a file serves the built-in demo".into())
            }
            Self::Directory { path } => {
                Some(format!("name the `.wasm` file: `find {} -name '*.wasm'` lists them", path.display()))
            }
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("this user needs permission to read the file".into())
            }
            Self::Open { .. } => None,
        }
    }
}

impl Component {
    /// What the component is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::BuiltIn { name, .. } => (*name).to_owned(),
        }
    }

    /// Its bytes, to be read from the start.
    ///
    /// # Errors
    /// Fails when there is nothing that could be read.
    pub fn open(&self) -> Result<OwnedFd, ComponentError> {
        let failed = |source| ComponentError::Open { name: self.name(), source };
        match self {
            Self::File(path) => {
                let file = File::open(path).map_err(|source| match source.kind() {
                    io::ErrorKind::NotFound => ComponentError::Missing { path: path.clone() },
                    _ => failed(source),
                })?;
                if file.metadata().map_err(failed)?.is_dir() {
                    return Err(ComponentError::Directory { path: path.clone() });
                }
                Ok(file.into())
            }
            Self::BuiltIn { name, bytes } => in_memory(name, bytes).map_err(failed),
        }
    }
}

fn in_memory(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = file_in_memory(name, MemfdFlags::CLOEXEC)?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn built_in_bytes_are_read_like_a_file() {
        let component = Component::BuiltIn { name: "demo", bytes: b"\0asm" };
        let mut bytes = Vec::new();
        File::from(component.open().expect("memory")).read_to_end(&mut bytes).expect("readable");
        assert_eq!(bytes, b"\0asm");
    }

    #[test]
    fn what_is_no_file_is_named() {
        let open = |path: &str| Component::File(path.into()).open();
        assert!(matches!(open("/no/such/app.wasm"), Err(ComponentError::Missing { .. })));
        assert!(matches!(open("/"), Err(ComponentError::Directory { .. })));
        assert!(matches!(open("/proc/version/app.wasm"), Err(ComponentError::Open { .. })));
    }
}
