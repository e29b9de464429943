// SPDX-License-Identifier: Apache-2.0

//! The few netlink requests that links and routes need, in the caller's network namespace.

use std::net::IpAddr;

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::Error;
use crate::names::ROUTE_PROTOCOL;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// A connection to the kernel, open as long as this lives.
pub(crate) struct Netlink {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One end of a veth to be made.
pub(crate) struct End<'a> {
    pub name: &'a str,
    pub mac: Mac,
}

/// A route as far as this crate makes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub to: IpNet,
    pub kind: RouteKind,
    /// The link's index; none where the gateway or the kind says it.
    pub link: Option<u32>,
    pub source: Option<IpAddr>,
    pub metric: Option<u32>,
}

/// What happens to what a route matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RouteKind {
    /// To its neighbour on the link.
    Link,
    /// To a router; `onlink` where it has no address of the link's network.
    Via { gateway: IpAddr, onlink: bool },
    /// To this host itself.
    Local,
    /// Refused.
    Unreachable,
}

/// Whether the kernel answered with this errno.
pub(crate) fn is_errno(error: &rtnetlink::Error, errno: nix::errno::Errno) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -(errno as i32))
}

impl Netlink {
    /// Connects in the calling thread's network namespace; needs a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::system("open a netlink socket"))?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// The index of a link, none if there is no such link.
    pub async fn index(&self, name: &str) -> Result<Option<u32>, Error> {
        let mut links = self.handle.link().get().match_name(name).execute();
        match links.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(error) if is_errno(&error, nix::errno::Errno::ENODEV) => Ok(None),
            Err(error) => Err(Error::netlink(format!("find link {name}"))(error)),
        }
    }

    /// The names and indexes of links whose name begins with `prefix`.
    pub async fn links(&self, prefix: &str) -> Result<Vec<(String, u32)>, Error> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(Error::netlink("list links"))?;
        let named = links.into_iter().filter_map(|link| {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })?;
            name.starts_with(prefix).then_some((name, link.header.index))
        });
        Ok(named.collect())
    }

    /// Makes a veth pair, the far end in the namespace that `netns` is open on, this end up.
    pub async fn add_veth(&self, near: End<'_>, far: End<'_>, netns: i32, mtu: Option<u32>) -> Result<(), Error> {
        let mut peer =
            LinkMessageBuilder::<LinkUnspec>::new().name(far.name).address(far.mac.to_vec()).setns_by_fd(netns);
        let mut link = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(near.name)
            .address(near.mac.to_vec())
            .up();
        if let Some(mtu) = mtu {
            peer = peer.mtu(mtu);
            link = link.mtu(mtu);
        }
        let message = link.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build()))).build();
        let added = self.handle.link().add(message).execute().await;
        added.map_err(Error::netlink(format!("add link {}", near.name)))
    }

    /// Sets a link up.
    pub async fn up(&self, name: &str) -> Result<(), Error> {
        let message = LinkUnspec::new_with_name(name).up().build();
        self.handle.link().set(message).execute().await.map_err(Error::netlink(format!("set link {name} up")))
    }

    /// Removes a link by index; false if it is gone already.
    pub async fn delete_link(&self, name: &str, index: u32) -> Result<bool, Error> {
        match self.handle.link().del(index).execute().await {
            Ok(()) => Ok(true),
            Err(error) if is_errno(&error, nix::errno::Errno::ENODEV) => Ok(false),
            Err(error) => Err(Error::netlink(format!("delete link {name}"))(error)),
        }
    }

    /// Gives a link an address of its own (/32 or /128), known to this host only if `label` is given.
    pub async fn add_address(&self, link: u32, address: IpAddr, label: Option<&str>) -> Result<(), Error> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        let mut request = self.handle.address().add(link, address, prefix).replace();
        if let Some(label) = label {
            let message = request.message_mut();
            message.header.scope = AddressScope::Host;
            if address.is_ipv4() {
                message.attributes.push(AddressAttribute::Label(label.to_owned()));
            }
        }
        request.execute().await.map_err(Error::netlink(format!("add address {address}")))
    }

    /// All addresses of the namespace.
    pub async fn addresses(&self) -> Result<Vec<AddressMessage>, Error> {
        self.handle.address().get().execute().try_collect().await.map_err(Error::netlink("list addresses"))
    }

    /// Takes an address away again.
    pub async fn delete_address(&self, message: AddressMessage) -> Result<(), Error> {
        self.handle.address().del(message).execute().await.map_err(Error::netlink("delete an address"))
    }

    /// Says who is behind an address of a link, for good: no ARP, no neighbour discovery.
    pub async fn set_neighbour(&self, link: u32, address: IpAddr, mac: Mac) -> Result<(), Error> {
        let request = self.handle.neighbours().add(link, address).link_layer_address(&mac);
        let set = request.state(NeighbourState::Permanent).replace().execute().await;
        set.map_err(Error::netlink(format!("set neighbour {address}")))
    }

    /// Adds a route or puts it in the place of one with the same destination and metric.
    pub async fn set_route(&self, route: &Route) -> Result<(), Error> {
        let set = self.handle.route().add(message(route)).replace().execute().await;
        set.map_err(Error::netlink(format!("add route {}", route.to)))
    }

    /// Removes a route that [`Netlink::own_routes`] found.
    pub async fn delete_route(&self, route: RouteMessage) -> Result<(), Error> {
        match self.handle.route().del(route).execute().await {
            Err(error) if !is_errno(&error, nix::errno::Errno::ESRCH) => Err(Error::netlink("delete a route")(error)),
            _ => Ok(()),
        }
    }

    /// The routes with Knarr's protocol number and this metric, both families, of every table.
    pub async fn own_routes(&self, metric: u32) -> Result<Vec<(Route, RouteMessage)>, Error> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            let routes: Vec<RouteMessage> =
                self.handle.route().get(query).execute().try_collect().await.map_err(Error::netlink("list routes"))?;
            let own = routes.into_iter().filter(|route| u8::from(route.header.protocol) == ROUTE_PROTOCOL);
            found.extend(own.filter_map(|message| Some((parse(&message)?, message))));
        }
        found.retain(|(route, _)| route.metric == Some(metric));
        Ok(found)
    }
}

fn message(route: &Route) -> RouteMessage {
    let mut message = RouteMessageBuilder::<IpAddr>::new().protocol(RouteProtocol::from(ROUTE_PROTOCOL)).build();
    let (family, attributes) = (route.to.addr(), &mut message.attributes);
    message.header.address_family = if family.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = route.to.prefix_len();
    if route.to.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(RouteAddress::from(route.to.addr())));
    }
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    (message.header.kind, message.header.scope) = match &route.kind {
        RouteKind::Link => (RouteType::Unicast, RouteScope::Link),
        RouteKind::Via { gateway, onlink } => {
            attributes.push(RouteAttribute::Gateway(RouteAddress::from(*gateway)));
            if *onlink {
                message.header.flags |= rtnetlink::packet_route::route::RouteFlags::Onlink;
            }
            (RouteType::Unicast, RouteScope::Universe)
        }
        RouteKind::Local => (RouteType::Local, RouteScope::Host),
        RouteKind::Unreachable => (RouteType::Unreachable, RouteScope::Universe),
    };
    attributes.extend(route.link.map(RouteAttribute::Oif));
    attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(RouteAddress::from(source))));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    message
}

fn parse(message: &RouteMessage) -> Option<Route> {
    let (mut to, mut link, mut gateway, mut source, mut metric) = (None, None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Priority(number) => metric = Some(*number),
            _ => {}
        }
    }
    let kind = match (message.header.kind, gateway) {
        (RouteType::Unicast, Some(gateway)) => RouteKind::Via { gateway, onlink: false },
        (RouteType::Unicast, None) => RouteKind::Link,
        (RouteType::Local, _) => RouteKind::Local,
        _ => RouteKind::Unreachable,
    };
    let to = IpNet::new(to?, message.header.destination_prefix_length).ok()?;
    Some(Route { to, kind, link, source, metric })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
