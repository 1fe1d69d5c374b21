//! What the tests of the whole share.
//!
//! ```text
//! cases/*.yaml -> case -> host    (compile and decide, no kernel)
//!                    `--> kernel  (loaded programs, real sockets in real cgroups) -> fixture, probe
//! beside (two enforcers on one kernel) -> kernel
//! guest (the test as the only program of a kernel) -> kernel, beside
//!
//! kube (a real API server, or one that does as it is told) -> daemon
//! cluster (kubectl, pods that call, the table in them) <- node (a real Kubernetes node in namespaces)
//!                                                    `- kind (nodes in containers) -> pod
//!
//! mesh (pods with a real Envoy) -> cluster
//!
//! escape -> the loaded programs, against every known escape
//! generator -> the same, against random sequences of calls
//! servers -> the daemon, and the loaded programs, beside ordinary servers and their clients
//! resolvers -> the daemon beside real name servers and clients that resolve and connect
//! fault  -> a kernel that refuses what the daemon asks of it
//! figures -> everything that is measured and published
//! ui -> the page in a real browser
//! prometheus -> the alerts and the dashboard beside a daemon
//! openmetrics -> what is scraped of the daemon, read strictly
//! hostile -> a workload that does all the harm it can, beside another one
//! ```

pub mod beside;
pub mod case;
pub mod cluster;
pub mod daemon;
pub mod escape;
pub mod fault;
pub mod figures;
pub mod fixture;
pub mod generator;
pub mod guest;
pub mod host;
pub mod hostile;
pub mod kernel;
pub mod kind;
pub mod kube;
pub mod mesh;
pub mod naming;
pub mod node;
pub mod onlookers;
pub mod openmetrics;
pub mod pod;
pub mod probe;
pub mod prometheus;
pub mod resolvers;
pub mod servers;
pub mod stream;
pub mod ui;
pub mod versions;
