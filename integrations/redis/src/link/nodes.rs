//! The connections of a link: one, or one to each master of a cluster.

use redis::Cmd;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;

/// The connections that commands go by. A handle.
#[derive(Clone)]
pub(crate) struct Nodes(Arc<Routes>);

struct Routes {
    conns: Vec<MultiplexedConnection>,
    /// Which of the connections each slot of a cluster is at. None: there is one connection.
    #[cfg(feature = "cluster")]
    slots: Option<Box<[u16]>>,
}

impl Nodes {
    pub(super) fn one(conn: MultiplexedConnection) -> Self {
        Self(Arc::new(Routes {
            conns: vec![conn],
            #[cfg(feature = "cluster")]
            slots: None,
        }))
    }

    /// Returns a cluster's connections. `slots` has a place in `conns` for each slot.
    #[cfg(feature = "cluster")]
    pub(super) fn cluster(conns: Vec<MultiplexedConnection>, slots: Box<[u16]>) -> Self {
        Self(Arc::new(Routes { conns, slots: Some(slots) }))
    }

    /// Returns which of the connections a key's commands go by.
    pub(crate) fn place(&self, name: &[u8]) -> usize {
        #[cfg(feature = "cluster")]
        if let Some(slots) = &self.0.slots {
            return usize::from(slots[super::cluster::slot(name)]);
        }
        let _ = name;
        0
    }

    /// Returns the connection of a key.
    pub(crate) fn of(&self, name: &[u8]) -> MultiplexedConnection {
        self.0.conns[self.place(name)].clone()
    }

    /// Returns a command for each connection, whose answer shows that the server is alive. A node
    /// of a cluster must serve keys: one that is cut off from the others answers a PING for ever.
    pub(super) fn signs_of_life(&self) -> impl Iterator<Item = (Cmd, MultiplexedConnection)> {
        let sign = |place: usize| {
            #[cfg(feature = "cluster")]
            if let Some(slots) = &self.0.slots {
                let is_here = |key: &String| usize::from(slots[super::cluster::slot(key.as_bytes())]) == place;
                let key = (0_u64..).map(|number| number.to_string()).find(is_here);
                let mut cmd = redis::cmd("EXISTS");
                cmd.arg(key.unwrap_or_default());
                return cmd;
            }
            let _ = place;
            redis::cmd("PING")
        };
        self.0.conns.iter().enumerate().map(move |(place, conn)| (sign(place), conn.clone()))
    }

    pub(super) fn all(&self) -> &[MultiplexedConnection] {
        &self.0.conns
    }

    /// Sorts keys by their connection.
    pub(crate) fn sorted<T>(&self, items: Vec<T>, name: impl Fn(&T) -> &[u8]) -> Vec<Vec<T>> {
        let mut by_place: Vec<Vec<T>> = self.0.conns.iter().map(|_| Vec::new()).collect();
        for item in items {
            let place = self.place(name(&item));
            by_place[place].push(item);
        }
        by_place.retain(|items| !items.is_empty());
        by_place
    }
}
