//! Configuration: text in, validated values out.
//!
//! Two layers. The first turns flags, environment and file text into checked values and touches nothing outside;
//! the second (`resolve`) reads the files that those values name. A broken configuration is refused here, before anything
//! is bound, with file, line, column and key. What the values *do* is not known in this room.

mod agent_type_section;
pub mod agent_types;
pub mod file;
pub mod layers;
pub mod load;
#[cfg(test)]
mod load_tests;
pub mod names;
pub mod options;
pub mod overrides;
pub mod resolve;
pub mod settings;
pub mod values;

pub use agent_types::AgentTypes;
pub use file::FileError;
pub use load::{LoadError, Loaded, load};
pub use overrides::{OverrideError, tighten};
pub use settings::Settings;
