// SPDX-License-Identifier: Apache-2.0
//! Kubernetes' own libraries and the values that they add to the language.

mod authorizer;
mod go_address;
mod network;
mod quantity;
mod semantic_version;
mod text_format;
mod url;

use std::net::IpAddr;

use semver::Version;

pub use authorizer::{Attributes, Authorize, Decision};
pub(super) use authorizer::{Check, of as authorizer};

use super::functions::Function;
use quantity::Amount;
use text_format::Format;
pub use url::Reference;
use url::Url;

/// A value of a library.
#[derive(Debug)]
pub enum Opaque<'a> {
    /// An address in the web.
    Url(Url),
    /// An amount.
    Quantity(Amount),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses, by its first written address and the bits that count.
    Cidr(IpAddr, u8),
    /// A version.
    Semver(Version),
    /// A format of texts.
    Format(&'static Format),
    /// Who may do what, asked step by step.
    Check(Check<'a>),
    /// An answer of the authorizer.
    Decision(Decision),
}

/// The function of this name in one of the libraries.
pub(super) fn find(name: &str) -> Option<Function> {
    url::find(name)
        .or_else(|| quantity::find(name))
        .or_else(|| network::find(name))
        .or_else(|| semantic_version::find(name))
        .or_else(|| text_format::find(name))
        .or_else(|| authorizer::find(name))
}

impl Opaque<'_> {
    /// The name of its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Check(check) => check.type_name(),
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, n), Self::Cidr(b, m)) => a == b && n == m,
            (Self::Semver(a), Self::Semver(b)) => a.cmp_precedence(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => std::ptr::eq(*a, *b),
            _ => false,
        }
    }

    /// As `string()` writes it.
    pub(super) fn to_text(&self) -> Option<String> {
        match self {
            Self::Ip(ip) => Some(ip.to_string()),
            Self::Cidr(ip, bits) => Some(format!("{ip}/{bits}")),
            _ => None,
        }
    }
}
