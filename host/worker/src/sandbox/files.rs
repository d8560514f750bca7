//! Files, TCP and signals: by Landlock.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};
use wasmcluster_core::app::DirGrant;
use wasmcluster_core::outbound::OutboundRule;

use super::Reach;

/// What we ask for: files, TCP, and signals and abstract sockets of others. Sockets that have a path are kept away by system
/// calls (`calls.rs`): only a later version knows them.
const WANTED: ABI = ABI::V6;

/// What the system's resolver reads.
const RESOLVER: [&str; 6] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
];

/// Where services keep a file of it that they replace when the name servers are others, and nothing that is secret.
const REPLACED: [&str; 2] = ["/run/resolvconf", "/run/systemd/resolve"];

/// By TCP, it asks what does not fit into a datagram.
const DNS: u16 = 53;

/// From now on nothing can be opened that `reach` does not have, nor connected to.
///
/// # Errors
/// Fails where the kernel does not help, or with a part of it only. As much as it can is done all the same.
pub(super) fn restrict(reach: &Reach) -> Result<(), String> {
    judge(apply(reach))
}

/// From now on nothing can be opened or made but in these directories, nor connected to.
///
/// # Errors
/// As [`restrict`].
pub(super) fn restrict_to(directories: &[BorrowedFd<'_>]) -> Result<(), String> {
    let apply = || {
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(WANTED))?
            .handle_access(AccessNet::from_all(WANTED))?
            .scope(Scope::from_all(WANTED))?
            .create()?;
        for directory in directories {
            rules = rules.add_rule(PathBeneath::new(directory, write()))?;
        }
        rules.restrict_self()
    };
    judge(apply())
}

/// What there is to say of it.
fn judge(applied: Result<RestrictionStatus, RulesetError>) -> Result<(), String> {
    let RestrictionStatus { ruleset, landlock, .. } = applied.map_err(|error| error.to_string())?;
    match (ruleset, landlock) {
        (RulesetStatus::FullyEnforced, _) => Ok(()),
        (_, LandlockStatus::NotImplemented) => Err("this kernel does not have it".into()),
        (_, LandlockStatus::NotEnabled) => Err("this kernel has it switched off".into()),
        (RulesetStatus::NotEnforced, _) => {
            Err("this kernel's version 1 of it would keep guests from moving files between directories"
                .into())
        }
        (_, LandlockStatus::Available { effective_abi, .. }) => Err(format!(
            "this kernel has version {} of it, and version {} is wanted",
            effective_abi as u32, WANTED as u32
        )),
    }
}

fn apply(reach: &Reach) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default();
    if reach.writes() {
        // Its first version forbids that without being asked. A guest that may write may do it, sandbox or not.
        let needed = rules.set_compatibility(CompatLevel::SoftRequirement).handle_access(AccessFs::Refer)?;
        rules = needed.set_compatibility(CompatLevel::BestEffort);
    }
    let mut rules = rules
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(WANTED))?;
    let ports = ports(reach);
    if ports.is_some() {
        rules = rules.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut rules = rules.create()?;
    for DirGrant { host, writable, .. } in &reach.dirs {
        // Whether it is there was found out when it was opened for the guest.
        rules = below(rules, host.as_os_str(), if *writable { write() } else { read() })?;
    }
    if reach.connects() {
        for file in RESOLVER {
            rules = below(rules, lasting(file).as_os_str(), AccessFs::ReadFile.into())?;
        }
    }
    for port in ports.unwrap_or_default() {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    rules.restrict_self()
}

/// What to grant for a file to be found there later on: a rule is about what has a name now, and not about the name.
fn lasting(file: &str) -> PathBuf {
    let real = Path::new(file).canonicalize().unwrap_or_else(|_| file.into());
    let replaced = REPLACED.map(Path::new).into_iter().find(|place| real.parent() == Some(place));
    replaced.map_or(real, Path::to_path_buf)
}

/// Where connections may go, unless that is everywhere.
fn ports(reach: &Reach) -> Option<Vec<u16>> {
    let mut ports: Vec<_> = reach.outbound.iter().map(OutboundRule::port).collect::<Option<_>>()?;
    if reach.connects() {
        ports.push(DNS);
    }
    Some(ports)
}

fn read() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// All that a guest can do to files and directories; devices, sockets and programs are none of its business.
fn write() -> BitFlags<AccessFs> {
    read()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

/// Allows something below a path, if there is one.
fn below(
    rules: RulesetCreated,
    path: &OsStr,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(path) => rules.add_rule(PathBeneath::new(path, access)),
        Err(_) => Ok(rules),
    }
}
