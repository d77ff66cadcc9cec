//! `execd run`: one command under an agent type, without a daemon. The same engine, no HTTP.

use super::ground::{self, Ground};
use super::runtime;
use crate::cli::{JsonTarget, RunRequest, exit_code, verdict_line};
use crate::config::resolve::{self, StateDir};
use crate::exec::output::{Selection, Stream};
use crate::exec::{Engine, Execution, Journal, Parts, Pool, StartRequest, Stdin, Stop, env, workdir};
use crate::init::reaper;
use crate::init::signals::Signals;
use crate::telemetry::{Level, Logger, Telemetry};
use nix::sys::signal::Signal;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

/// Runs to the end; the result is the exit code.
pub fn run(request: RunRequest, signals: OwnedFd) -> anyhow::Result<u8> {
    let ground = Ground::lay()?;
    let runtime = runtime()?;
    let (zygote, domain) = (ground.zygote.pid, ground.context.domain.clone());
    let code = runtime.block_on(async move {
        let signals = Signals::new(signals)?;
        let engine = build(ground, &request)?;
        let started = engine.start(start_request(&request));
        let result = match started {
            Ok(execution) => {
                let forward = tokio::spawn(obey_signals(signals, execution.clone(), zygote));
                let view = attend(&execution).await;
                forward.abort();
                finish(&request, &serde_json::to_value(&view)?)
            }
            Err(error) => {
                eprintln!("execd: {error}");
                Ok(crate::cli::verdict::OWN_FAILURE)
            }
        };
        engine.shutdown(std::time::Duration::from_millis(500)).await;
        result
    });
    // A thread may still sit in read(0); nobody waits for it.
    runtime.shutdown_background();
    ground::leave(zygote, &domain);
    code
}

fn build(ground: Ground, request: &RunRequest) -> anyhow::Result<Engine> {
    let settings = &request.settings;
    let telemetry = Arc::new(Telemetry::new(Logger::to_fd(Level::Error, None), request.agent_types.names(), []));
    // Records of a one-shot run are kept only where the user names a place.
    let journal = match settings.state_dir.as_ref().map(|_| resolve::state_dir(settings, None)).transpose()? {
        Some(StateDir::Folder(dir)) => Journal::share(&dir, telemetry.clone())?,
        Some(StateDir::Memory { .. }) | None => Journal::in_memory(),
    };
    Ok(Engine::new(Parts {
        types: request.agent_types.clone(),
        default_type: settings.default_agent_type.clone(),
        max_executions: 1,
        work_root: workdir::root(settings.work_root.as_deref()),
        user: settings.user.map(|user| (user.uid, Some(user.gid))),
        world: ground.context.world,
        domain: ground.context.domain,
        pool: Pool::new(ground.zygote),
        journal,
        telemetry,
        base_env: env::base(std::env::vars_os()),
    }))
}

fn start_request(request: &RunRequest) -> StartRequest {
    let text = |os: &std::ffi::OsString| os.to_string_lossy().into_owned();
    StartRequest {
        agent_type: Some(request.agent_type.name.clone()),
        argv: request.argv.iter().cloned().map(OsStringExt::into_vec).collect(),
        env: request.env.iter().map(|(key, value)| (text(key), text(value))).collect(),
        cwd: request.cwd.clone(),
        stdin: Stdin::Open,
        uid: request.user.map(|user| user.uid),
        gid: request.user.map(|user| user.gid),
        limits: request.limits.clone(),
        ..StartRequest::default()
    }
}

/// Copies both directions until the end.
async fn attend(execution: &Arc<Execution>) -> crate::exec::ExecutionView {
    let feeder = execution.clone();
    tokio::spawn(async move { feed_stdin(&feeder).await });
    let output = execution.output().clone();
    let follower = output.follow(Selection::Both, 0);
    let mut changed = output.subscribe();
    let mut cursor = 0;
    loop {
        changed.mark_unchanged();
        let chunk = output.read(Selection::Both, cursor);
        for segment in &chunk.segments {
            // A closed reader of ours is no reason to end the command.
            let _ = match segment.stream {
                Stream::Stdout => io::stdout().write_all(&segment.bytes),
                Stream::Stderr => io::stderr().write_all(&segment.bytes),
            };
        }
        cursor = chunk.next;
        output.progress(follower, cursor);
        if chunk.end {
            break;
        }
        if chunk.segments.is_empty() && changed.changed().await.is_err() {
            break;
        }
    }
    let _ = io::stdout().flush();
    execution.wait().await
}

async fn feed_stdin(execution: &Execution) {
    execution.wait_started().await;
    if io::stdin().is_terminal() {
        // The terminal stays ours: a command in another session cannot read it.
        execution.close_stdin().await;
        return;
    }
    loop {
        let read = tokio::task::spawn_blocking(|| {
            let mut block = vec![0; 64 << 10];
            let length = io::stdin().read(&mut block).unwrap_or(0);
            block.truncate(length);
            block
        });
        match read.await {
            Ok(block) if !block.is_empty() => {
                if execution.write_stdin(&block).await.is_err() {
                    return;
                }
            }
            _ => break,
        }
    }
    execution.close_stdin().await;
}

async fn obey_signals(signals: Signals, execution: Arc<Execution>, zygote: i32) {
    let mut asked = false;
    while let Ok(received) = signals.next().await {
        for signal in received {
            // An execution that has ended meanwhile is what was asked for.
            match signal {
                Signal::SIGCHLD => drop(reaper::reap_all(None, zygote)),
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT => {
                    let _ = if asked { execution.kill(Stop::Cancelled) } else { execution.stop(Stop::Cancelled) };
                    asked = true;
                }
                Signal::SIGUSR1 | Signal::SIGUSR2 | Signal::SIGCONT => drop(execution.signal(signal as i32)),
                _ => {}
            }
        }
    }
}

fn finish(request: &RunRequest, view: &serde_json::Value) -> anyhow::Result<u8> {
    eprintln!("{}", verdict_line(view));
    match &request.json {
        Some(JsonTarget::Stdout) => println!("{view}"),
        Some(JsonTarget::File(path)) => std::fs::write(path, format!("{view}\n"))
            .map_err(|error| anyhow::anyhow!("write {}: {error}", path.display()))?,
        None => {}
    }
    Ok(exit_code(view))
}
