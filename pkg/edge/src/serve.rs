// SPDX-License-Identifier: Apache-2.0

//! What is being served: the last good snapshot, indexed for DNS and for ingress.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::dns::{Dns, Forwarder, Zone};
use crate::ingress::Ingress;
use crate::snapshot::{self, Snapshot};

/// The state that all listeners share.
pub(crate) struct Served {
    pub dns: Arc<Dns>,
    pub ingress: Arc<Ingress>,
    serial: AtomicU32,
}

impl Served {
    /// Serves an empty cluster; the ingress on as many threads.
    pub fn new(threads: usize) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let serial = u32::try_from(started.as_secs()).unwrap_or(1);
        let dns = Dns {
            zone: ArcSwap::from_pointee(Zone::new(&Snapshot::default(), serial)),
            forwarder: Forwarder::default(),
        };
        Self { dns: Arc::new(dns), ingress: Arc::new(Ingress::new(threads)), serial: AtomicU32::new(serial) }
    }

    /// Takes the snapshot at `path`; one that cannot be read leaves what is being served as it is.
    pub fn load(&self, path: &Path) {
        match snapshot::read(path) {
            Ok(snapshot) => self.set(&snapshot),
            Err(error) => tracing::warn!(%error, "keep serving the last snapshot"),
        }
    }

    fn set(&self, snapshot: &Snapshot) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.dns.zone.store(Arc::new(Zone::new(snapshot, serial)));
        self.ingress.set(snapshot);
        tracing::debug!(serial, services = snapshot.services.len(), "snapshot taken");
    }

    /// Lets requests in flight end, for at most `patience`.
    pub async fn drain(&self, patience: Duration) {
        self.ingress.drain(patience).await;
    }
}
