// SPDX-License-Identifier: Apache-2.0

//! Which pod has which address of the node's ranges: a pure allocator, and its record on disk.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Addresses by owner (a pod's uid), and where the search for the next one begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allocations {
    owners: BTreeMap<String, Vec<IpAddr>>,
    /// The last address given a range: the next search starts after it, so that an address rests
    /// as long as possible before it is used again (peers may still hold connections to it).
    last: BTreeMap<IpNet, IpAddr>,
}

impl Allocations {
    /// One address of every range for `owner`; the same ones when it has them already.
    pub fn assign(&mut self, ranges: &[IpNet], owner: &str) -> Result<Vec<IpAddr>, Error> {
        if let Some(addresses) = self.owners.get(owner)
            && fits(addresses, ranges)
        {
            return Ok(addresses.clone());
        }
        let taken: HashSet<IpAddr> = self.owners.values().flatten().copied().collect();
        let mut addresses = Vec::with_capacity(ranges.len());
        for range in ranges {
            let free = next_free(*range, self.last.get(range).copied(), &taken);
            addresses.push(free.ok_or(Error::Exhausted { range: *range })?);
        }
        for (range, address) in ranges.iter().zip(&addresses) {
            self.last.insert(*range, *address);
        }
        self.owners.insert(owner.to_owned(), addresses.clone());
        Ok(addresses)
    }

    /// Gives the owner's addresses back; true if it had any.
    pub fn release(&mut self, owner: &str) -> bool {
        self.owners.remove(owner).is_some()
    }

    /// Keeps only the owners that `keep` names; true if any went.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> bool {
        let before = self.owners.len();
        self.owners.retain(|owner, _| keep(owner));
        self.owners.len() != before
    }

    /// The addresses of an owner, empty if it has none.
    pub fn of(&self, owner: &str) -> &[IpAddr] {
        self.owners.get(owner).map_or(&[], Vec::as_slice)
    }
}

/// The allocator of one node with its record, written before an address is handed out.
#[derive(Debug)]
pub struct Ipam {
    file: PathBuf,
    ranges: Vec<IpNet>,
    allocations: Allocations,
}

impl Ipam {
    /// Reads the record at `file` (absent is empty) for the node's `ranges`, one a family.
    pub fn open(file: impl Into<PathBuf>, ranges: Vec<IpNet>) -> Result<Self, Error> {
        let file = file.into();
        let allocations = match std::fs::read(&file) {
            // What a power cut can leave of an unsynced file. No pod of before it runs any more.
            Ok(bytes) if bytes.is_empty() => Allocations::default(),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| Error::Record { path: file.clone(), source })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Allocations::default(),
            Err(error) => return Err(Error::file("read", &file)(error)),
        };
        Ok(Self { file, ranges, allocations })
    }

    /// One address of every range for the pod; idempotent.
    pub fn assign(&mut self, pod_uid: &str) -> Result<Vec<IpAddr>, Error> {
        let mut next = self.allocations.clone();
        let addresses = next.assign(&self.ranges, pod_uid)?;
        self.adopt(next)?;
        Ok(addresses)
    }

    /// Gives the pod's addresses back; idempotent.
    pub fn release(&mut self, pod_uid: &str) -> Result<(), Error> {
        let mut next = self.allocations.clone();
        next.release(pod_uid);
        self.adopt(next)
    }

    /// Gives back what pods hold that are gone, after a restart.
    pub fn retain(&mut self, keep: impl FnMut(&str) -> bool) -> Result<(), Error> {
        let mut next = self.allocations.clone();
        next.retain(keep);
        self.adopt(next)
    }

    /// The pod's addresses, empty if it has none.
    pub fn addresses(&self, pod_uid: &str) -> &[IpAddr] {
        self.allocations.of(pod_uid)
    }

    /// The node's ranges.
    pub fn ranges(&self) -> &[IpNet] {
        &self.ranges
    }

    fn adopt(&mut self, next: Allocations) -> Result<(), Error> {
        if next != self.allocations {
            write(&self.file, &next)?;
            self.allocations = next;
        }
        Ok(())
    }
}

fn write(file: &Path, allocations: &Allocations) -> Result<(), Error> {
    let bytes = serde_json::to_vec(allocations).map_err(|source| Error::Record { path: file.to_owned(), source })?;
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, bytes).map_err(Error::file("write", &fresh))?;
    std::fs::rename(&fresh, file).map_err(Error::file("replace", file))
}

fn fits(addresses: &[IpAddr], ranges: &[IpNet]) -> bool {
    addresses.len() == ranges.len() && addresses.iter().zip(ranges).all(|(address, range)| range.contains(address))
}

/// The first free address after `last`, going round once. Network, first and broadcast addresses
/// stay unused: some software takes them for a network's, a router's and everybody's.
fn next_free(range: IpNet, last: Option<IpAddr>, taken: &HashSet<IpAddr>) -> Option<IpAddr> {
    let (base, size) = span(range);
    let usable = size.checked_sub(3).filter(|usable| *usable > 0)?;
    let start = last.map_or(0, |last| number(last).saturating_sub(base + 1));
    // No range has more holes to skip than there are owners.
    let tries = usable.min(taken.len() as u128 + 1);
    (0..tries)
        .map(|step| address(base + 2 + (start + step) % usable, range))
        .find(|candidate| !taken.contains(candidate))
}

/// The range's first address as a number, and how many addresses it has (of IPv6 the low 2^64).
fn span(range: IpNet) -> (u128, u128) {
    let free_bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(64);
    (number(range.network()), 1 << free_bits)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(number: u128, family: IpNet) -> IpAddr {
    match family {
        IpNet::V4(_) => IpAddr::V4((number as u32).into()),
        IpNet::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nets(ranges: &[&str]) -> Vec<IpNet> {
        ranges.iter().map(|range| range.parse().unwrap()).collect()
    }

    #[test]
    fn every_range_gives_one_address_and_an_owner_keeps_its_own() {
        let ranges = nets(&["10.42.3.0/24", "fd00:42::/64"]);
        let mut allocations = Allocations::default();
        let first = allocations.assign(&ranges, "a").unwrap();
        assert_eq!(first, ["10.42.3.2".parse::<IpAddr>().unwrap(), "fd00:42::2".parse().unwrap()]);
        assert_eq!(allocations.assign(&ranges, "a").unwrap(), first);
        allocations.release("a");
        assert_eq!(allocations.assign(&ranges, "b").unwrap()[0].to_string(), "10.42.3.3", "a released address rests");
    }

    #[test]
    fn a_range_gives_all_its_addresses_then_says_so_then_gives_what_came_back() {
        let ranges = nets(&["10.42.3.0/29"]);
        let mut allocations = Allocations::default();
        let given: Vec<String> =
            (0..5).map(|n| allocations.assign(&ranges, &n.to_string()).unwrap()[0].to_string()).collect();
        assert_eq!(given, ["10.42.3.2", "10.42.3.3", "10.42.3.4", "10.42.3.5", "10.42.3.6"]);
        assert!(matches!(allocations.assign(&ranges, "x"), Err(Error::Exhausted { .. })));
        allocations.release("2");
        assert_eq!(allocations.assign(&ranges, "x").unwrap()[0].to_string(), "10.42.3.4");
    }

    #[test]
    fn the_record_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("addresses.json");
        let mut ipam = Ipam::open(&file, nets(&["10.42.3.0/24"])).unwrap();
        let given = ipam.assign("a").unwrap();
        drop(ipam);
        let mut again = Ipam::open(&file, nets(&["10.42.3.0/24"])).unwrap();
        assert_eq!(again.addresses("a"), given);
        again.retain(|_| false).unwrap();
        assert!(Ipam::open(&file, nets(&["10.42.3.0/24"])).unwrap().addresses("a").is_empty());
        std::fs::write(&file, "").unwrap();
        assert!(Ipam::open(&file, nets(&["10.42.3.0/24"])).is_ok());
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(Ipam::open(&file, nets(&["10.42.3.0/24"])), Err(Error::Record { .. })));
    }

    proptest! {
        #[test]
        fn no_two_owners_share_an_address(steps in proptest::collection::vec((0u8..20, any::<bool>()), 0..200)) {
            let ranges = nets(&["10.0.0.0/27", "fd00::/120"]);
            let mut allocations = Allocations::default();
            for (owner, assign) in steps {
                let owner = owner.to_string();
                if assign { allocations.assign(&ranges, &owner).unwrap(); } else { allocations.release(&owner); }
                let all: Vec<_> = allocations.owners.values().flatten().collect();
                let distinct: HashSet<_> = all.iter().collect();
                prop_assert_eq!(all.len(), distinct.len());
            }
        }
    }
}
