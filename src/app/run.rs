//! `execd run`: one command under an agent type, without a daemon. The same engine, no HTTP.

use super::ground::{self, Ground};
use super::{runtime, surroundings};
use crate::cli::{JsonTarget, RunRequest, exit_code, verdict_line};
use crate::config::resolve::{self, StateDir};
use crate::config::settings::TokenSource;
use crate::exec::output::{Segment, Selection, Stream};
use crate::exec::{Engine, Execution, Journal, Parts, Pool, StartRequest, Stdin, Stop, env, workdir};
use crate::init::reaper;
use crate::init::signals::Signals;
use crate::telemetry::{LogLevel, Logger, Telemetry};
use nix::sys::signal::Signal;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Somebody who asked for the end gets it this long after the execution's, also if our own streams take nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for who asked twice.
const LAST_PATIENCE: Duration = Duration::from_millis(50);

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
                let asked = watch::Sender::new(0);
                let mut asks = asked.subscribe();
                let forward = tokio::spawn(obey_signals(signals, execution.clone(), zygote, asked));
                let result = tokio::select! {
                    result = attend(&execution, request.json) => result,
                    () = impatience(&execution, &mut asks) => Ok(exit_code(&serde_json::to_value(execution.view())?)),
                };
                forward.abort();
                result
            }
            Err(error) => {
                eprintln!("execd: {error}");
                Ok(crate::cli::verdict::OWN_FAILURE)
            }
        };
        engine.shutdown(Duration::from_millis(500)).await;
        result
    });
    // A thread may still sit in read(0) or write(1); nobody waits for it.
    runtime.shutdown_background();
    ground::leave(zygote, &domain);
    code
}

fn build(ground: Ground, request: &RunRequest) -> anyhow::Result<Engine> {
    let settings = &request.settings;
    let telemetry = Arc::new(Telemetry::new(Logger::to_fd(LogLevel::Error, None), request.agent_types.names(), []));
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
        surroundings: surroundings([settings.listen.port()], !matches!(settings.token, TokenSource::None)),
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
        allowed_domains: (!request.allow_domains.is_empty()).then(|| request.allow_domains.clone()),
        ..StartRequest::default()
    }
}

/// Copies both directions until the end, then says how it ended.
async fn attend(execution: &Arc<Execution>, json: Option<JsonTarget>) -> anyhow::Result<u8> {
    let feeder = execution.clone();
    crate::task::run(async move { feed_stdin(&feeder).await });
    copy_output(execution).await;
    let view = serde_json::to_value(execution.wait().await)?;
    spawn_blocking(move || finish(json.as_ref(), &view)).await?
}

/// Our streams may take nothing for a while, so they are written to beside the runtime, which hears signals meanwhile. The command waits
/// for them as if they were its own.
async fn copy_output(execution: &Execution) {
    let output = execution.output();
    let follower = output.follow_all(Selection::Both);
    let mut changed = output.subscribe();
    let mut cursor = 0;
    loop {
        changed.mark_unchanged();
        let chunk = output.read(Selection::Both, cursor);
        let nothing = chunk.segments.is_empty();
        if !nothing && spawn_blocking(move || write_out(&chunk.segments)).await.is_err() {
            return;
        }
        cursor = chunk.next;
        output.progress(follower, cursor);
        if chunk.end || (nothing && changed.changed().await.is_err()) {
            return;
        }
    }
}

fn write_out(segments: &[Segment]) {
    for segment in segments {
        // A closed reader of ours is no reason to end the command.
        let _ = match segment.stream {
            Stream::Stdout => io::stdout().write_all(&segment.bytes),
            Stream::Stderr => io::stderr().write_all(&segment.bytes),
        };
    }
}

/// Returns when somebody has asked for the end and has waited for it long enough.
async fn impatience(execution: &Execution, asks: &mut watch::Receiver<u32>) {
    execution.wait().await;
    let mut twice = asks.clone();
    if asks.wait_for(|count| *count >= 1).await.is_err() {
        return std::future::pending().await;
    }
    tokio::select! {
        () = sleep(PATIENCE) => {}
        Ok(_) = twice.wait_for(|count| *count >= 2) => sleep(LAST_PATIENCE).await,
    }
}

async fn feed_stdin(execution: &Execution) {
    execution.wait_started().await;
    if io::stdin().is_terminal() {
        // The terminal stays ours: a command in another session cannot read it.
        execution.close_stdin();
        return;
    }
    loop {
        let read = spawn_blocking(|| {
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
    execution.close_stdin();
}

async fn obey_signals(signals: Signals, execution: Arc<Execution>, zygote: i32, asked: watch::Sender<u32>) {
    while let Ok(received) = signals.next().await {
        for signal in received {
            // An execution that has ended meanwhile is what was asked for.
            match signal {
                Signal::SIGCHLD => drop(reaper::reap_all(None, zygote)),
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT => {
                    let again = *asked.borrow() > 0;
                    let _ = if again { execution.kill(Stop::Cancelled) } else { execution.stop(Stop::Cancelled) };
                    asked.send_modify(|count| *count += 1);
                }
                Signal::SIGUSR1 | Signal::SIGUSR2 | Signal::SIGCONT => drop(execution.signal(signal as i32)),
                _ => {}
            }
        }
    }
}

/// The last words, and the exit code.
fn finish(json: Option<&JsonTarget>, view: &serde_json::Value) -> anyhow::Result<u8> {
    let _ = io::stdout().flush();
    // Nobody is left to tell that stderr or stdout take nothing.
    let _ = writeln!(io::stderr(), "{}", verdict_line(view));
    match json {
        Some(JsonTarget::Stdout) => drop(writeln!(io::stdout(), "{view}")),
        Some(JsonTarget::File(path)) => std::fs::write(path, format!("{view}\n"))
            .map_err(|error| anyhow::anyhow!("write {}: {error}", path.display()))?,
        None => {}
    }
    Ok(exit_code(view))
}
