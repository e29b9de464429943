// SPDX-License-Identifier: Apache-2.0

//! The last steps before the container's program: filters, capabilities, `exec`.
//!
//! Runs inside the container, in the child that libcontainer prepared. Without
//! `no_new_privileges` a filter can only be installed by who has SYS_ADMIN, so libcontainer keeps
//! that one (see `spec`) and it is given up here, after the filter.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use caps::{CapSet, Capability, CapsHashSet};
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use seccompiler::BpfProgram;

use crate::config::{ContainerConfig, Seccomp};
use crate::{seccomp, spec};

use super::process;

/// How messages about commands that cannot run begin, as every runtime words it.
pub const CANNOT_EXECUTE: &str = "exec: \"";

/// Starts the programs of one container.
#[derive(Clone)]
pub struct Launcher {
    filters: Rc<[BpfProgram]>,
    /// Left at the end, when launching needed more.
    capabilities: Option<Rc<[Capability]>>,
    /// Columns and rows of the terminal, known before the program looks.
    size: Option<(u16, u16)>,
}

impl Launcher {
    /// Compiles the container's profile.
    pub fn new(config: &ContainerConfig, held: &[&'static str]) -> Result<Launcher, String> {
        let granted = spec::capabilities::granted(config, held);
        let filters = match &config.seccomp {
            _ if config.privileged => Vec::new(),
            Seccomp::Unconfined => Vec::new(),
            Seccomp::RuntimeDefault => seccomp::runtime_default(|name| granted.contains(&name))?,
            Seccomp::Localhost(path) => localhost(path)?,
        };
        let capabilities = spec::needs_power_to_filter(config)
            .then(|| granted.iter().filter_map(|name| format!("CAP_{name}").parse().ok()).collect());
        Ok(Launcher { filters: filters.into(), capabilities, size: None })
    }

    /// The same, for a terminal of this size.
    pub fn with_size(&self, size: Option<(u16, u16)>) -> Launcher {
        Launcher { size, ..self.clone() }
    }

    fn set_size(&self) {
        if let Some((ws_col, ws_row)) = self.size {
            let size = rustix::termios::Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
            let _only_looks = rustix::termios::tcsetwinsize(rustix::stdio::stdin(), size);
        }
    }

    fn confine(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if let Some(granted) = &self.capabilities {
            let all = caps::read(None, CapSet::Bounding)?;
            for capability in all.iter().filter(|c| !granted.contains(c)) {
                caps::drop(None, CapSet::Bounding, *capability)?;
            }
        }
        for filter in self.filters.iter() {
            process::install_filter(filter)?;
        }
        if let Some(granted) = &self.capabilities {
            let granted: CapsHashSet = granted.iter().copied().collect();
            caps::set(None, CapSet::Effective, &granted)?;
            caps::set(None, CapSet::Permitted, &granted)?;
        }
        Ok(())
    }
}

fn localhost(path: &Path) -> Result<Vec<BpfProgram>, String> {
    std::fs::read_to_string(path)
        .map_err(|e| e.to_string())
        .and_then(|json| seccomp::from_oci_profile(&json))
        .map_err(|e| format!("cannot use the seccomp profile {}: {e}", path.display()))
}

impl Executor for Launcher {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let args = arguments(spec).ok_or(ExecutorError::InvalidArg)?;
        let program = find(&args[0], path_variable(spec)).map_err(ExecutorError::Other)?;
        let program = c_string(program.as_os_str().as_encoded_bytes())?;
        let args: Result<Vec<_>, _> = args.iter().map(|a| c_string(a.as_bytes())).collect();
        process::reset_signals().map_err(|e| ExecutorError::Other(e.to_string()))?;
        self.set_size();
        self.confine().map_err(ExecutorError::Execution)?;
        let Err(error) = nix::unistd::execv(&program, &args?);
        Err(ExecutorError::Other(format!("{CANNOT_EXECUTE}{}\": {}", program.to_string_lossy(), error.desc())))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let refuse = ExecutorValidationError::ArgValidationError;
        let args = arguments(spec).ok_or_else(|| refuse("no command specified".to_owned()))?;
        find(&args[0], path_variable(spec)).map(drop).map_err(refuse)
    }
}

fn arguments(spec: &Spec) -> Option<&Vec<String>> {
    let process: &Process = spec.process().as_ref()?;
    process.args().as_ref().filter(|args| !args.is_empty())
}

fn path_variable(spec: &Spec) -> &str {
    let env = spec.process().as_ref().and_then(|p| p.env().as_ref());
    env.into_iter().flatten().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default()
}

fn c_string(bytes: &[u8]) -> Result<CString, ExecutorError> {
    CString::new(bytes).map_err(|_| ExecutorError::InvalidArg)
}

/// The program's file: as given when it has a slash, else the first executable in the path.
fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(e) if e == rustix::io::Errno::NOENT => {
                Err(format!("{CANNOT_EXECUTE}{name}\": stat {name}: no such file or directory"))
            }
            Err(_) => Err(format!("{CANNOT_EXECUTE}{name}\": permission denied")),
        };
    }
    path.split(':')
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|file| executable(file).is_ok())
        .ok_or_else(|| format!("{CANNOT_EXECUTE}{name}\": executable file not found in $PATH"))
}

fn executable(file: &Path) -> Result<(), rustix::io::Errno> {
    use rustix::fs::{Access, AtFlags, CWD, FileType};
    let stat = rustix::fs::stat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(rustix::io::Errno::ACCESS);
    }
    rustix::fs::accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS)
}
