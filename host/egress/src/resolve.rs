//! Names to addresses.
//!
//! The gate asks for names itself: of the system's servers (`/etc/resolv.conf`) and its file
//! of hosts, or of the servers that the operator has configured, and then of nobody else, the
//! file of hosts included. A name is asked for as it is written: search lists would make
//! another name of it than the one that a rule allows. What the answers are good for is not
//! decided here: every address is looked at before it is connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;

use crate::error::{GateError, GateErrorKind};

/// Addresses of a name that are tried, at most: large sites answer with eight.
const ADDRESSES_MAX: usize = 16;

/// Answers that are remembered, and how long at most, whatever they say of themselves.
const CACHE_ANSWERS_MAX: u64 = 1_024;
const CACHE_TIME_MAX: Duration = Duration::from_secs(300);
const CACHE_NONE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a server may take, and how often it is asked again.
const SERVER_TIME_MAX: Duration = Duration::from_secs(3);
const RETRIES: usize = 1;

/// Questions under way at a time to one server.
const QUESTIONS_MAX: usize = 256;

/// What the system's own answers depend on.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// When those were last changed.
type Changed = [Option<SystemTime>; SYSTEM_FILES.len()];

/// Asks for names.
pub(crate) enum Resolver {
    /// The system's servers, as they were when its files were last changed: a machine that is
    /// carried elsewhere has others there.
    System(Mutex<(Changed, Made)>),
    /// These.
    Own(Made),
}

/// Where the system has no servers, every look-up says so: a host whose plugins need no names
/// does without.
type Made = Result<TokioResolver, GateError>;

impl Resolver {
    /// One that asks these servers, or the system's if there are none.
    pub(crate) fn new(servers: &[SocketAddr]) -> Resolver {
        if servers.is_empty() {
            Resolver::System(Mutex::new((changed(), Resolver::make(&[]))))
        } else {
            Resolver::Own(Resolver::make(servers))
        }
    }

    fn make(servers: &[SocketAddr]) -> Made {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            Ok(TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(servers.collect()),
                TokioRuntimeProvider::default(),
            ))
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.timeout = SERVER_TIME_MAX;
            options.attempts = RETRIES;
            options.max_active_requests = QUESTIONS_MAX;
            options.cache_size = CACHE_ANSWERS_MAX;
            options.positive_max_ttl = Some(CACHE_TIME_MAX);
            options.negative_max_ttl = Some(CACHE_NONE_TIME_MAX);
            options.preserve_intermediates = false;
            options.use_hosts_file = if servers.is_empty() {
                ResolveHosts::Always
            } else {
                ResolveHosts::Never
            };
            builder.build()
        });
        resolver.map_err(|error| {
            GateError::setup(format!(
                "this system's name servers are not known: {error}; set `dns` under [network] in portreeve.toml"
            ))
        })
    }

    /// The resolver as it is to be now.
    fn current(&self) -> Made {
        let made = match self {
            Resolver::Own(made) => return made.clone(),
            Resolver::System(made) => made,
        };
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        let now = changed();
        if made.0 != now {
            *made = (now, Resolver::make(&[]));
        }
        made.1.clone()
    }

    /// The addresses of a name, IPv6 and IPv4 by turns.
    pub(crate) async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, GateError> {
        let resolver = self.current()?;
        let failed = |why: String| {
            GateError::new(
                GateErrorKind::Dns,
                format!("{name} can't be looked up: {why}"),
            )
        };
        let mut written = Name::from_ascii(name).map_err(|error| failed(error.to_string()))?;
        // As it is written, and nothing behind it.
        written.set_fqdn(true);
        let found = resolver.lookup_ip(written).await.map_err(|error| {
            if error.is_no_records_found() {
                failed("it has no address".to_owned())
            } else {
                failed(error.to_string())
            }
        })?;
        let (six, four): (Vec<IpAddr>, Vec<IpAddr>) =
            found.iter().partition(|address| address.is_ipv6());
        let (mut six, mut four) = (six.into_iter(), four.into_iter());
        let turns = std::iter::from_fn(|| {
            let turn = [six.next(), four.next()];
            turn.iter().any(Option::is_some).then_some(turn)
        });
        Ok(turns.flatten().flatten().take(ADDRESSES_MAX).collect())
    }
}

fn changed() -> Changed {
    SYSTEM_FILES.map(|file| {
        std::fs::metadata(file)
            .and_then(|file| file.modified())
            .ok()
    })
}
