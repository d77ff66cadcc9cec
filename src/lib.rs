//! execd: runs AI-agent executions under limits that hold, and says exactly why each one ended.
//!
//! The map, top to bottom; a room only uses rooms below it.
//!
//! | room | what it is for |
//! |---|---|
//! | [`cli`] | subcommands, tables, exit codes |
//! | [`app`] | the composition root: builds every part, returns bound addresses |
//! | [`api`] | HTTP: routes, errors, streams; thin dialects over `exec` |
//! | [`init`] | PID 1: roles, main command, signals, orderly shutdown |
//! | [`exec`] | executions as the daemon sees them: table, status machine, output, journal |
//! | [`supervisor`] | the process per execution: starts, watches, kills, reports |
//! | [`telemetry`] | log lines, counters, Prometheus |
//! | [`sample`] | what the container has and uses |
//! | [`limits`] | decisions: plan, budgets, watchdog; pure |
//! | [`cgroup`] | groups of v1 and v2 |
//! | [`config`], [`agent_type`], [`units`] | validated settings |
//! | [`network`] | the egress proxy and its rules |
//! | [`task`] | work beside the caller |
//! | [`sys`] | the only `unsafe` |
#![deny(unsafe_code)]

pub mod agent_type;
pub mod api;
pub mod app;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod exec;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod init;
pub mod limits;
pub mod network;
pub mod sample;
pub mod supervisor;
#[allow(unsafe_code)] // the one room where it may be; each block says why it is sound
pub mod sys;
pub mod task;
pub mod telemetry;
pub mod units;
