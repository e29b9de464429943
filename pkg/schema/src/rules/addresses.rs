// SPDX-License-Identifier: Apache-2.0

//! IP addresses and CIDRs in upstream's words (`k8s.io/apimachinery/pkg/util/validation/ip.go`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use knarr_types::{ErrorList, Object};

use super::at::At;
use super::names;

const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// What is wrong with an address.
pub fn ip(address: &At<'_>) -> ErrorList {
    let text = address.text();
    if let Ok(parsed) = text.parse::<IpAddr>() {
        return match parsed {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                vec![address.invalid("must not be an IPv4-mapped IPv6 address")]
            }
            _ => ErrorList::new(),
        };
    }
    if without_leading_zeros(text).parse::<Ipv4Addr>().is_ok() {
        return vec![address.invalid("must not have leading 0s")];
    }
    vec![address.invalid_as(text, NOT_AN_IP)]
}

/// What should be said of an address that is taken but not written as it should be.
pub fn ip_warning(address: &At<'_>) -> Option<String> {
    let text = address.text();
    let parsed = text.parse::<Ipv6Addr>().ok()?;
    if let Some(v4) = parsed.to_ipv4_mapped() {
        return Some(format!("{}: non-standard IP address {text:?} is invalid: use \"{v4}\"", address.path));
    }
    let canonical = parsed.to_string();
    let message = format!("IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})");
    (canonical != text).then(|| format!("{}: {message}", address.path))
}

/// Warnings about the addresses of a load balancer.
pub fn load_balancer_warnings(object: &Object) -> Vec<String> {
    let ingress = At::root(object).items("status.loadBalancer.ingress");
    ingress.iter().filter_map(|one| ip_warning(&one.get("ip").named(one.path.clone()))).collect()
}

/// The same of a network.
pub fn cidr_warning(network: &At<'_>) -> Option<String> {
    let text = network.text();
    let IpNet::V6(parsed) = text.parse().ok()? else { return None };
    let canonical = parsed.to_string();
    let message = format!("IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})");
    (canonical != text).then(|| format!("{}: {message}", network.path))
}

/// What is wrong with a network.
pub fn cidr(network: &At<'_>) -> ErrorList {
    let text = network.text();
    let Ok(parsed) = text.parse::<IpNet>() else {
        let (address, prefix) = text.split_once('/').unwrap_or_default();
        let mended = format!("{}/{}", without_leading_zeros(address), without_leading_zeros(prefix));
        if !address.is_empty() && mended.parse::<IpNet>().is_ok() {
            return vec![network.invalid("must not have leading 0s in IP or prefix length")];
        }
        return vec![network.invalid_as(text, NOT_A_CIDR)];
    };
    // The parser takes leading zeros for decimal.
    let (address, prefix) = text.split_once('/').unwrap_or_default();
    if address.parse::<IpAddr>().is_err() || (prefix.len() > 1 && prefix.starts_with('0')) {
        return vec![network.invalid("must not have leading 0s in IP or prefix length")];
    }
    if matches!(parsed.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return vec![network.invalid("must not have an IPv4-mapped IPv6 address")];
    }
    if parsed.trunc() != parsed {
        return vec![network.invalid("must not have bits set beyond the prefix length")];
    }
    ErrorList::new()
}

/// What is wrong with the address of an interface in its network, `10.9.8.7/24`.
pub fn interface_address(address: &At<'_>) -> ErrorList {
    let text = address.text();
    match text.parse::<IpNet>() {
        Err(_) => {
            vec![address.invalid_as(text, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)")]
        }
        Ok(parsed) if parsed.to_string() != text => {
            vec![address.invalid(format!("must be in canonical form ({:?})", parsed.to_string()))]
        }
        Ok(_) => ErrorList::new(),
    }
}

/// What is wrong with an address that traffic is sent to from outside.
pub fn not_special(address: &At<'_>) -> ErrorList {
    let text = address.text();
    let parsed = text.parse().or_else(|_| without_leading_zeros(text).parse().map(IpAddr::V4));
    let Ok(parsed) = parsed.map(|parsed: IpAddr| parsed.to_canonical()) else {
        return vec![address.invalid_as(text, "must be a valid IP address")];
    };
    let mut errors = ErrorList::new();
    if parsed.is_unspecified() {
        errors.push(address.invalid(format!("may not be unspecified ({})", address.text())));
    }
    if parsed.is_loopback() {
        errors.push(address.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    if is_link_local(parsed) {
        errors.push(address.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if is_link_local_multicast(parsed) {
        errors.push(address.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
    }
    errors
}

/// What is wrong with where a load balancer says it listens; that of a Service says how its addresses are
/// meant, that of an Ingress does not.
pub fn load_balancer_status(status: &At<'_>, with_mode: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for ingress in status.items("ingress") {
        let (address, host) = (ingress.get("ip"), ingress.get("hostname"));
        if !address.text().is_empty() {
            errors.extend(ip(&address));
        }
        let mode = ingress.get("ipMode");
        match (mode.is_set(), address.text().is_empty()) {
            _ if !with_mode => {}
            (false, false) => errors.push(mode.required("must be specified when `ip` is set")),
            (true, true) => errors.push(mode.forbidden("may not be specified when `ip` is not set")),
            _ => errors.extend(super::security::one_of(&mode, &["Proxy", "VIP"])),
        }
        if !host.text().is_empty() {
            errors.extend(host.faults(names::dns1123_subdomain(host.text())));
            if host.text().parse::<IpAddr>().is_ok() {
                errors.push(host.invalid("must be a DNS name, not an IP address"));
            }
        }
    }
    errors
}

/// It is an IPv6 address.
pub fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// It is an IPv4 address.
pub fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn without_leading_zeros(text: &str) -> String {
    let mend = |part: &str| {
        let rest = part.trim_start_matches('0');
        if rest.is_empty() && !part.is_empty() { "0".to_owned() } else { rest.to_owned() }
    };
    text.split('.').map(mend).collect::<Vec<_>>().join(".")
}
