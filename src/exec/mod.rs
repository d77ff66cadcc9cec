//! Executions as the daemon sees them: requests, status machine, output, records. Supervisors do the work; HTTP is unknown here.

mod asks;
mod attempt;
mod driver;
mod engine;
pub mod env;
pub mod events;
mod execution;
mod feed;
#[cfg(fuzzing)]
#[path = "../fuzzing/exec.rs"]
pub mod fuzzing;
mod handover;
mod id;
mod journal;
mod leftovers;
mod network;
pub mod output;
mod output_file;
mod pipes;
mod plain_file;
mod pool;
mod recent;
mod request;
mod ring;
mod status;
mod table;
pub mod view;
pub mod workdir;

pub use engine::{Engine, Parts};
pub use execution::{Execution, MAX_INLINE_STDIN, Refused};
pub use id::is_valid as is_valid_id;
pub use journal::Journal;
pub use network::{Surroundings, enforcement as domain_enforcement};
pub use pool::Pool;
pub use request::{StartError, StartRequest, Stdin};
pub use status::{Reason, Status, Stop, parse_signal, signal_name};
pub use table::{Filter, MAX_PAGE};
pub use view::ExecutionView;
