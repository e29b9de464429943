// SPDX-License-Identifier: Apache-2.0
//! Addresses and their ranges.

use std::net::{IpAddr, Ipv6Addr};

use knarr_types::go_quoted;

use super::{Opaque, go_address};
use crate::cel::eval::Fault;
use crate::cel::functions::{Function, Outcome, none};
use crate::cel::value::Value;

pub(super) fn find(name: &str) -> Option<Function> {
    making(name).or_else(|| of_address(name)).or_else(|| of_range(name))
}

fn making(name: &str) -> Option<Function> {
    Some(match name {
        "ip" => |args| match args {
            [Value::String(text)] => parse_ip(text).map(|ip| Value::opaque(Opaque::Ip(ip))),
            [value] => range(value).map_or_else(none, |(ip, _)| Ok(Value::opaque(Opaque::Ip(ip)))),
            _ => none(),
        },
        "isIP" => |args| text(args, |text| Ok(Value::Bool(parse_ip(text).is_ok()))),
        "ip.isCanonical" => |args| text(args, |text| Ok(Value::Bool(parse_ip(text)?.to_string() == text))),
        "cidr" => |args| {
            text(args, |text| {
                let (ip, bits) = parse_cidr(text)?;
                Ok(Value::opaque(Opaque::Cidr(ip, bits)))
            })
        },
        "isCIDR" => |args| text(args, |text| Ok(Value::Bool(parse_cidr(text).is_ok()))),
        _ => return None,
    })
}

fn of_address(name: &str) -> Option<Function> {
    Some(match name {
        "family" => |args| match args {
            [value] => address(value).map_or_else(none, |ip| Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 }))),
            _ => none(),
        },
        "isUnspecified" => |args| test(args, |ip| ip.is_unspecified()),
        "isLoopback" => |args| test(args, |ip| ip.is_loopback()),
        "isLinkLocalMulticast" => |args| test(args, is_link_local_multicast),
        "isLinkLocalUnicast" => |args| test(args, is_link_local_unicast),
        "isGlobalUnicast" => |args| {
            test(args, |ip| {
                let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
                !(ip.is_unspecified()
                    || ip.is_loopback()
                    || ip.is_multicast()
                    || is_link_local_unicast(ip)
                    || broadcast)
            })
        },
        _ => return None,
    })
}

fn of_range(name: &str) -> Option<Function> {
    Some(match name {
        "containsIP" => |args| {
            let [outer, inner] = args else { return none() };
            let inner = match inner {
                Value::String(text) => parse_ip(text)?,
                other => address(other).ok_or_else(Fault::no_overload)?,
            };
            let (ip, bits) = range(outer).ok_or_else(Fault::no_overload)?;
            Ok(Value::Bool(contains(ip, bits, inner)))
        },
        "containsCIDR" => |args| {
            let [outer, inner] = args else { return none() };
            let (inner, inner_bits) = match inner {
                Value::String(text) => parse_cidr(text)?,
                other => range(other).ok_or_else(Fault::no_overload)?,
            };
            let (ip, bits) = range(outer).ok_or_else(Fault::no_overload)?;
            Ok(Value::Bool(bits <= inner_bits && contains(ip, bits, inner)))
        },
        "prefixLength" => |args| match args {
            [value] => range(value).map_or_else(none, |(_, bits)| Ok(Value::Int(i64::from(bits)))),
            _ => none(),
        },
        "masked" => |args| match args {
            [value] => {
                range(value).map_or_else(none, |(ip, bits)| Ok(Value::opaque(Opaque::Cidr(mask(ip, bits), bits))))
            }
            _ => none(),
        },
        _ => return None,
    })
}

fn text<'a>(args: &[Value<'a>], f: fn(&str) -> Outcome<'a>) -> Outcome<'a> {
    match args {
        [Value::String(text)] => f(text),
        _ => none(),
    }
}

fn test<'a>(args: &[Value<'a>], f: fn(IpAddr) -> bool) -> Outcome<'a> {
    match args {
        [value] => address(value).map_or_else(none, |ip| Ok(Value::Bool(f(ip)))),
        _ => none(),
    }
}

fn address(value: &Value<'_>) -> Option<IpAddr> {
    match value {
        Value::Opaque(of) => match of.as_ref() {
            Opaque::Ip(ip) => Some(*ip),
            _ => None,
        },
        _ => None,
    }
}

fn range(value: &Value<'_>) -> Option<(IpAddr, u8)> {
    match value {
        Value::Opaque(of) => match of.as_ref() {
            Opaque::Cidr(ip, bits) => Some((*ip, *bits)),
            _ => None,
        },
        _ => None,
    }
}

fn is_link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

fn parse_ip(text: &str) -> Result<IpAddr, Fault> {
    let parsed: Result<IpAddr, _> = text.parse();
    match parsed {
        Ok(ip) if is_mapped(ip) => Err(Fault::Error(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))),
        Ok(ip) => Ok(ip),
        Err(_) if text.split_once('%').is_some_and(|(ip, _)| ip.parse::<Ipv6Addr>().is_ok()) => {
            Err(Fault::Error(format!("IP address {text:?} with zone value is not allowed")))
        }
        Err(_) => {
            let (text, why) = (go_quoted(text), go_address::fault(text));
            Err(Fault::Error(format!("IP Address {text} parse error during conversion from string: {why}")))
        }
    }
}

fn parse_cidr(text: &str) -> Result<(IpAddr, u8), Fault> {
    // Upstream says it twice.
    const WRONG: &str = "network address parse error during conversion from string:";
    let bad = |why: &str| Fault::Error(format!("{WRONG} {WRONG} netip.ParsePrefix({text:?}): {why}"));
    let (ip, bits) = text.rsplit_once('/').ok_or_else(|| bad("no '/'"))?;
    let ip: IpAddr = ip.parse().map_err(|_| {
        let zoned = ip.split_once('%').is_some_and(|(ip, zone)| !zone.is_empty() && ip.parse::<Ipv6Addr>().is_ok());
        if zoned { bad("IPv6 zones cannot be present in a prefix") } else { bad(&go_address::fault(ip)) }
    })?;
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let bits: u64 = bits
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| bad(&format!("bad bits after slash: {}", go_quoted(bits))))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits = u8::try_from(bits).ok().filter(|bits| *bits <= most);
    let bits = bits.ok_or_else(|| bad("prefix length out of range"))?;
    if is_mapped(ip) {
        return Err(Fault::Error(format!("{WRONG} IPv4-mapped IPv6 address {text:?} is not allowed")));
    }
    Ok((ip, bits))
}

/// The address with all bits cleared that do not count.
fn mask(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or_default();
            IpAddr::V4((v4.to_bits() & kept).into())
        }
        IpAddr::V6(v6) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or_default();
            IpAddr::V6((v6.to_bits() & kept).into())
        }
    }
}

fn contains(ip: IpAddr, bits: u8, inner: IpAddr) -> bool {
    ip.is_ipv4() == inner.is_ipv4() && mask(ip, bits) == mask(inner, bits)
}
