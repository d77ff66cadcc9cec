//! `execd serve`: the daemon's life, from settings to the last line.

use super::ground::{self, Ground};
use super::{note, runtime, surroundings};
use crate::api::{self, Api, Rules, Server, Service, Surface, drain, listen, readiness::Readiness};
use crate::cli::ServeRequest;
use crate::config::load;
use crate::config::resolve::{self, StateDir, read_text};
use crate::config::settings::Settings;
use crate::exec::{Engine, Journal, Parts, Pool, env, workdir};
use crate::init::main_command::{MainCommand, NotStarted};
use crate::init::reaper::{Ended, exit_code, reap_all};
use crate::init::signals::Signals;
use crate::init::termination::{self, Termination};
use crate::sample::Sampler;
use crate::supervisor::protocol::Exit;
use crate::sys::{code, secret};
use crate::telemetry::{Field, Logger, Telemetry};
use nix::sys::signal::Signal;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Time for open requests after the executions have ended.
const LAST_REQUESTS: Duration = Duration::from_millis(500);

/// Serves until told to stop; the result is the exit code.
pub fn serve(request: ServeRequest, signals: OwnedFd) -> anyhow::Result<u8> {
    let token = resolve::token(&request.settings.token)?.map(|token| token.expose().to_owned());
    secret::forget_variable("EXECD_ACCESS_TOKEN");
    if let Some(token) = &token {
        secret::hide(token.as_bytes());
    }
    let ground = Ground::lay()?;
    let machine_init = ground.machine_init;
    let (mode, zygote, domain) = (ground.mode, ground.zygote.pid, ground.context.domain.clone());
    let settings = request.settings.clone();
    let end = live(request, token, ground, signals);
    ground::leave(zygote, &domain);
    let (code, line) = match &end {
        Ok(end) => (settings.remap_exit.apply(end.code), end.line()),
        Err(error) => {
            let code = error.downcast_ref::<MainNotStarted>().map_or(crate::cli::verdict::OWN_FAILURE, |e| e.exit_code);
            (
                code,
                Termination {
                    reason: "failed",
                    message: Some(format!("{error:#}")),
                    exit_code: code,
                    ..Termination::default()
                },
            )
        }
    };
    let log = settings.termination_log.as_deref().unwrap_or(Path::new(termination::TERMINATION_LOG));
    termination::write_line(log, &Termination { exit_code: code, ..line });
    if mode == crate::init::role::InitMode::Pid1 {
        termination::end_everybody(settings.graceful_shutdown_timeout);
    }
    if let Err(error) = end {
        eprintln!("execd: {error:#}");
    }
    if machine_init {
        termination::end_machine(settings.vm_exit);
    }
    Ok(code)
}

/// How the daemon ended.
struct End {
    code: u8,
    main: Option<Exit>,
    executions_ended: usize,
    uptime_ms: u64,
}

impl End {
    fn line(&self) -> Termination<'static> {
        let (reason, signal) = match self.main {
            Some(Exit::Code(_)) => ("main_exited", None),
            Some(Exit::Signal(signal)) => ("main_signaled", Some(crate::exec::signal_name(signal))),
            None => ("stopped", None),
        };
        Termination {
            reason,
            signal,
            executions_ended: self.executions_ended,
            uptime_ms: self.uptime_ms,
            ..Termination::default()
        }
    }
}

/// The main command could not be started; its exit code is ours.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct MainNotStarted {
    exit_code: u8,
    message: String,
}

impl From<NotStarted> for MainNotStarted {
    fn from(NotStarted { exit_code, message }: NotStarted) -> MainNotStarted {
        MainNotStarted { exit_code, message }
    }
}

fn live(request: ServeRequest, token: Option<String>, ground: Ground, signals: OwnedFd) -> anyhow::Result<End> {
    let listener = listen::bind_to(request.settings.listen)?;
    let metrics = request.settings.metrics_addr.map(listen::bind_to).transpose()?;
    let main = ground.start_main(&request.main_command).map_err(MainNotStarted::from)?;
    let runtime = runtime()?;
    let end = runtime.block_on(async {
        let daemon = Daemon::build(&request, token, ground, main, listener.local_addr()?.port())?;
        daemon.live(listener, metrics, Signals::new(signals)?, request.config_file.as_deref()).await
    });
    // Journal threads have flushed; nobody else is worth waiting for.
    runtime.shutdown_background();
    end
}

/// Everything that lives as long as the daemon serves.
struct Daemon {
    settings: Settings,
    telemetry: Arc<Telemetry>,
    engine: Engine,
    api: Arc<Api>,
    readiness: Readiness,
    main: Option<MainCommand>,
    zygote: i32,
    state_dir: Option<PathBuf>,
}

/// Why the daemon stops serving.
enum Why {
    MainEnded(Exit),
    Asked,
}

impl Daemon {
    fn build(
        request: &ServeRequest,
        token: Option<String>,
        ground: Ground,
        main: Option<MainCommand>,
        control_port: u16,
    ) -> anyhow::Result<Daemon> {
        let settings = request.settings.clone();
        let telemetry = Arc::new(Telemetry::new(logger(&settings)?, request.agent_types.names(), api::endpoints()));
        greet(&telemetry, request, token.is_some(), &ground);
        let (journal, state_dir) = journal(&settings, request.xdg_state_home.as_deref(), &telemetry)?;
        let work_root = workdir::root(settings.work_root.as_deref());
        let sampler = Sampler::new(Path::new("/"), &ground.layout).with_workspace(work_root.clone());
        let zygote = ground.zygote.pid;
        let engine = Engine::new(Parts {
            types: request.agent_types.clone(),
            default_type: settings.default_agent_type.clone(),
            max_executions: settings.max_executions,
            work_root,
            user: settings.user.map(|user| (user.uid, Some(user.gid))),
            world: ground.context.world,
            domain: ground.context.domain,
            pool: Pool::new(ground.zygote),
            journal,
            telemetry: telemetry.clone(),
            base_env: env::base(std::env::vars_os()),
            surroundings: surroundings([control_port], token.is_some()),
        });
        let readiness = Readiness::default();
        readiness.set("serving", true);
        let rules = Rules {
            token,
            guard_metrics: settings.guard_metrics,
            hosts: settings.allow_hosts.clone(),
            origins: settings.allow_origins.clone(),
        };
        let api = Api::new(api::Parts {
            rules,
            init_mode: ground.mode.as_str(),
            telemetry: telemetry.clone(),
            readiness: readiness.clone(),
            sampler,
            engine: engine.clone(),
        });
        Ok(Daemon { settings, telemetry, engine, api, readiness, main, zygote, state_dir })
    }

    async fn live(
        self,
        listener: TcpListener,
        metrics: Option<TcpListener>,
        signals: Signals,
        config_file: Option<&str>,
    ) -> anyhow::Result<End> {
        let (trigger, watcher) = drain::pair();
        let service = Arc::new(Service::new(self.api.clone()));
        let server = Server::new(service, self.telemetry.clone(), watcher, self.settings.max_connections);
        let address = listener.local_addr()?;
        let metrics_address = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        tokio::spawn(server.clone().serve(listener, Surface::Api));
        if let Some(metrics) = metrics {
            tokio::spawn(server.serve(metrics, Surface::Metrics));
        }
        self.announce(address, metrics_address);
        self.restore();
        self.engine.expect_the_usual();
        forget_the_start();
        let why = self.run_until_told(&signals, config_file).await;
        let executions_ended = self.engine.active();
        self.end(&signals, trigger).await;
        let main = match why {
            Why::MainEnded(exit) => Some(exit),
            Why::Asked => None,
        };
        let code = main.map_or(0, |exit| {
            exit_code(match exit {
                Exit::Code(code) => crate::sys::process::Exit::Code(code),
                Exit::Signal(signal) => crate::sys::process::Exit::Signal(signal),
            })
        });
        Ok(End { code, main, executions_ended, uptime_ms: self.telemetry.uptime_ms() })
    }

    fn announce(&self, address: SocketAddr, metrics: Option<SocketAddr>) {
        if let Some(dir) = &self.state_dir {
            note::write(dir, address, metrics);
        }
        self.telemetry.log.info("serving", &[("listen", Field::Str(&address.to_string()))]);
    }

    /// Reads old records beside serving: a thousand files take a while on a cold disk.
    fn restore(&self) {
        let guard = self.readiness.block("journal");
        let engine = self.engine.clone();
        let telemetry = self.telemetry.clone();
        if engine.journal().dir().is_none() {
            return;
        }
        crate::task::run_blocking(move || {
            let count = engine.restore();
            if count > 0 {
                telemetry.log.info("records of an earlier daemon restored", &[("count", Field::U64(count as u64))]);
            }
            drop(guard);
        });
    }

    async fn run_until_told(&self, signals: &Signals, config_file: Option<&str>) -> Why {
        let mut asked = false;
        loop {
            let Ok(received) = signals.next().await else { return Why::Asked };
            for signal in received {
                match signal {
                    Signal::SIGCHLD => {
                        if let Some(exit) = self.reap() {
                            return Why::MainEnded(exit);
                        }
                    }
                    Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => match &self.main {
                        None => return Why::Asked,
                        Some(main) if asked && signal == Signal::SIGTERM => main.signal(Signal::SIGKILL),
                        Some(main) => {
                            asked |= signal == Signal::SIGTERM;
                            main.signal(signal);
                            if asked {
                                self.api.drain();
                                self.engine.drain();
                            }
                        }
                    },
                    Signal::SIGHUP if self.main.is_none() => self.reload(config_file),
                    other => {
                        if let Some(main) = &self.main {
                            main.signal(other);
                        }
                    }
                }
            }
        }
    }

    fn reap(&self) -> Option<Exit> {
        let mut main = None;
        for ended in reap_all(self.main, self.zygote) {
            match ended {
                Ended::Main(crate::sys::process::Exit::Code(code)) => main = Some(Exit::Code(code)),
                Ended::Main(crate::sys::process::Exit::Signal(signal)) => main = Some(Exit::Signal(signal)),
                Ended::Zygote => {
                    self.readiness.set(api::ZYGOTE, false);
                    self.telemetry.log.error("the zygote died: no execution can be started; restart the daemon", &[]);
                }
            }
        }
        main
    }

    /// Agent types anew; a broken file changes nothing. What names mean is taken from the system's files again.
    fn reload(&self, config_file: Option<&str>) {
        self.engine.renew_names();
        let Some(file) = config_file else {
            self.telemetry.log.warn("SIGHUP without a configuration file: agent types stay as they are", &[]);
            return;
        };
        let loaded = read_text(Path::new(file))
            .map_err(|error| format!("{file}: {error}"))
            .and_then(|text| load::check_file(file, &text).map_err(|error| error.to_string()));
        match loaded {
            Ok(loaded) => {
                self.engine.set_agent_types(loaded.agent_types);
                self.telemetry
                    .log
                    .info("agent types reloaded; other settings need a restart", &[("file", Field::Str(file))]);
            }
            Err(error) => {
                self.telemetry
                    .log
                    .error("configuration not reloaded, the old one stays", &[("error", Field::Str(&error))]);
            }
        }
    }

    /// Not ready first, then the executions, then open requests. Another TERM means now.
    async fn end(&self, signals: &Signals, trigger: drain::DrainTrigger) {
        self.api.drain();
        let orderly = async {
            self.engine.shutdown(self.settings.graceful_shutdown_timeout).await;
            trigger.finish(LAST_REQUESTS).await
        };
        tokio::pin!(orderly);
        let mut now = false;
        loop {
            tokio::select! {
                _ = &mut orderly => break,
                received = signals.next() => {
                    let Ok(received) = received else { continue };
                    if received.contains(&Signal::SIGCHLD) {
                        self.reap();
                    }
                    if !now && received.iter().any(|signal| matches!(signal, Signal::SIGTERM | Signal::SIGINT)) {
                        now = true;
                        self.engine.kill_all();
                    }
                }
            }
        }
        if let Some(dir) = &self.state_dir {
            note::remove(dir);
        }
        self.telemetry.log.info("ended", &[]);
    }
}

/// Where records go. Only a folder that was asked for is insisted on.
fn journal(
    settings: &Settings,
    xdg_state_home: Option<&Path>,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<(Journal, Option<PathBuf>)> {
    let why = match resolve::state_dir(settings, xdg_state_home)? {
        StateDir::Folder(dir) => match Journal::open(&dir, telemetry.clone()) {
            Ok(journal) => return Ok((journal, Some(dir))),
            Err(error) if settings.state_dir.is_some() => return Err(error.into()),
            Err(error) => error.to_string(),
        },
        StateDir::Memory { why } => why,
    };
    telemetry.log.warn("no state directory: records are kept in memory only", &[("why", Field::Str(&why))]);
    Ok((Journal::in_memory(), None))
}

fn logger(settings: &Settings) -> anyhow::Result<Logger> {
    Ok(Logger::new(settings.log_level, settings.file_log.clone())?)
}

/// The start is over for certain after this time.
const SETTLED: Duration = Duration::from_millis(500);

fn forget_the_start() {
    crate::task::run(async {
        tokio::time::sleep(SETTLED).await;
        code::forget();
    });
}

/// What an operator should know at start.
fn greet(telemetry: &Telemetry, request: &ServeRequest, has_token: bool, ground: &Ground) {
    let log = &telemetry.log;
    let containment = serde_json::to_string(&ground.context.world.containment()).unwrap_or_default();
    log.info(
        "starting",
        &[
            ("version", Field::Str(env!("CARGO_PKG_VERSION"))),
            ("init_mode", Field::Str(ground.mode.as_str())),
            ("containment", Field::Str(containment.trim_matches('"'))),
        ],
    );
    if !has_token {
        log.warn("no access token: everybody who can connect may start commands; set --access-token-file", &[]);
    }
    for problem in &ground.notes {
        log.warn("sandbox setup", &[("problem", Field::Str(problem))]);
    }
    for argument in &request.ignored_arguments {
        log.warn("argument ignored", &[("argument", Field::Str(argument))]);
    }
    for variable in &request.ignored_variables {
        log.warn("environment variable ignored", &[("variable", Field::Str(variable))]);
    }
}
