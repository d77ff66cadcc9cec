//! The supervisor's looks at what its execution uses: how much, is it too much, when to look again.
//!
//! One object for every world. A figure comes from the execution's group where there is one, else from one pass over the
//! process tree that serves CPU, memory and task count alike.

use super::container::Reading;
use super::context::Context;
use super::gate::Gate;
use super::memory;
use super::protocol::{Breach, Spec, Usage};
use super::storage::Storage;
use super::tree::Snapshot;
use crate::cgroup::group::{Counters, Group};
use crate::limits::world::CgroupVersion;
use crate::limits::{LimitKey, Limits, Mechanism, budget};
use crate::sys::{process, time};
use std::time::Duration;

/// CPU looks are not closer than this: with two cores busy it is 10 ms of CPU time.
const CPU_FLOOR: Duration = Duration::from_millis(5);
/// A pass over /proc costs more than reading one group file, so the floor is higher there.
const CPU_FLOOR_TREE: Duration = Duration::from_millis(10);
/// First look at memory for the sake of its peak; the distance doubles up to `budget::MEMORY_LOOK_MAX`.
const PEAK_FIRST: Duration = Duration::from_millis(2);
/// Unowned CPU time below this is rounding: /proc shows waited-for children in 10 ms ticks.
const UNOWNED_NOISE: Duration = Duration::from_millis(50);
/// How far below its limit a v1 group's peak can be at an OOM kill of its own.
const V1_CHARGE_SLACK: u64 = 2 << 20;
/// A vfork child shares its parent's memory until its exec, and both show all of it: a second look tells.
const VFORK_PAUSE: Duration = Duration::from_millis(3);
const VFORK_LOOKS: usize = 3;

/// Who else the watch asks.
pub(crate) struct Sources<'a> {
    pub(crate) context: &'a Context,
    pub(crate) group: Option<&'a Group>,
    pub(crate) gate: Option<&'a Gate>,
    pub(crate) root: i32,
}

/// Readings over the life of one execution.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Limits,
    started: Duration,
    usage: Usage,
    baseline: Counters,
    denied_base: u64,
    cpu_base: (u64, u64),
    tree_cpu: TreeCpu,
    look_at: Duration,
    peak_interval: Duration,
    /// only under a storage limit
    storage: Option<Storage>,
}

/// CPU accounting of a tree without a group.
#[derive(Debug, Default)]
struct TreeCpu {
    base: Duration,
    last: Duration,
    /// seen on a process that then ended with nobody waiting for it
    lost: Duration,
    /// highest figure given out
    charged: Duration,
    container_base: Option<(u64, Duration)>,
}

/// The container's limit would be reached before the execution's own.
fn container_breach((reading, headroom): (Reading, u64), own: u64) -> Option<Breach> {
    let Reading { limit: allowed, unreclaimable: used } = reading;
    let breach = Breach { limit: LimitKey::MemoryBytes, allowed, used, mechanism: Mechanism::Watchdog };
    budget::answers_for_container(headroom, used, own).then_some(breach)
}

fn ticks() -> Duration {
    // USER_HZ is 100 on every architecture that we build for (proc_pid_stat(5), sysconf(_SC_CLK_TCK)).
    Duration::from_millis(10)
}

impl Watch {
    /// Takes the baselines, just before the command is let go.
    pub(crate) fn begin(spec: &Spec, sources: &Sources<'_>) -> Watch {
        let now = time::monotonic();
        let mut watch = Watch {
            limits: spec.limits.clone(),
            started: now,
            usage: Usage::default(),
            baseline: sources.group.map(Group::out_of_memory).unwrap_or_default(),
            denied_base: sources.group.and_then(Group::tasks_denied).unwrap_or(0),
            cpu_base: sources.group.and_then(Group::cpu_us).unwrap_or_default(),
            tree_cpu: TreeCpu::default(),
            look_at: now + PEAK_FIRST,
            peak_interval: PEAK_FIRST,
            storage: None,
        };
        if watch.cpu_by_tree(sources) {
            watch.tree_cpu.begin(sources);
        }
        let storage = |allowed| Storage::begin(&spec.storage_root, spec.storage_fresh, allowed);
        watch.storage = spec.limits.storage_bytes.and_then(storage);
        watch
    }

    fn cpu_by_tree(&self, sources: &Sources<'_>) -> bool {
        sources.context.world.cpu_time.is_none() || sources.group.is_none()
    }

    /// When to call [`Watch::look_if_due`] next.
    pub(crate) fn next_at(&self) -> Duration {
        let storage = self.storage.as_ref().map(Storage::next_at);
        self.look_at.min(storage.unwrap_or(Duration::MAX))
    }

    /// The command runs since `at`: preparation does not count as its wall time.
    pub(crate) fn start_clock(&mut self, at: Duration) {
        self.started = at;
    }

    /// Wall time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        time::monotonic().saturating_sub(self.started)
    }

    /// Monotonic time at which the wall limit is reached.
    pub(crate) fn wall_deadline(&self) -> Option<Duration> {
        self.limits.wall_time_ms.map(|ms| self.started + Duration::from_millis(ms))
    }

    /// Looks at whatever is due.
    pub(crate) fn look_if_due(&mut self, sources: &Sources<'_>) -> Option<Breach> {
        let now = time::monotonic();
        if now >= self.look_at
            && let Some(breach) = self.look(sources)
        {
            return Some(breach);
        }
        let due = self.storage.as_ref().is_some_and(|storage| now >= storage.next_at());
        if due { self.step_storage(sources) } else { None }
    }

    /// One look at CPU, memory and tasks. Plans the next.
    pub(crate) fn look(&mut self, sources: &Sources<'_>) -> Option<Breach> {
        let snapshot = self.needs_tree(sources).then(|| Snapshot::take(sources.root).ok()).flatten();
        let cpu = self.read_cpu(sources, snapshot.as_ref());
        let memory = self.read_memory(sources, snapshot.as_ref());
        let container = self.read_container(sources);
        self.read_tasks(sources, snapshot.as_ref());
        self.plan_next(sources, cpu, memory, container.map(|(_, headroom)| headroom));
        self.evidence(sources)
            .or_else(|| self.cpu_breach(sources, cpu))
            .or_else(|| self.memory_breach(sources, memory))
            .or_else(|| container_breach(container?, memory?))
            .or_else(|| self.tasks_breach(sources))
    }

    /// Figures as they are now, for a report.
    pub(crate) fn report(&mut self, sources: &Sources<'_>) -> Usage {
        let _ = self.look(sources);
        self.usage.wall_us = micros(self.elapsed());
        self.usage
    }

    /// Figures when no process is left: exact CPU time, no memory, no tasks.
    pub(crate) fn last_report(&mut self, sources: &Sources<'_>) -> Usage {
        if self.cpu_by_tree(sources) {
            // Everybody is waited for now: exact, but for what was on nobody's account.
            let (user, system) = process::reaped_cpu_us();
            let exact = (user + system).saturating_sub(micros(self.tree_cpu.base));
            let total = exact.max(micros(self.tree_cpu.charged));
            self.split_cpu(total, user, system);
        } else if let Some(cpu) = sources.group.and_then(Group::cpu_us) {
            self.set_group_cpu(cpu);
        }
        if let Some(group) = sources.group {
            self.usage.memory_charge_peak_bytes = group.memory_charge_peak();
            self.usage.pids_peak = group.tasks_peak().or(self.usage.pids_peak);
        }
        self.count_denied(sources);
        self.usage.wall_us = micros(self.elapsed());
        self.usage
    }

    fn needs_tree(&self, sources: &Sources<'_>) -> bool {
        let group = sources.group;
        self.cpu_by_tree(sources) || !group.is_some_and(Group::limits_memory) || !group.is_some_and(Group::limits_pids)
    }

    fn set_group_cpu(&mut self, (user, system): (u64, u64)) {
        self.usage.cpu_user_us = user.saturating_sub(self.cpu_base.0);
        self.usage.cpu_system_us = system.saturating_sub(self.cpu_base.1);
    }

    fn read_cpu(&mut self, sources: &Sources<'_>, snapshot: Option<&Snapshot>) -> Duration {
        if !self.cpu_by_tree(sources) {
            if let Some(cpu) = sources.group.and_then(Group::cpu_us) {
                self.set_group_cpu(cpu);
            }
            let gate = sources.gate.map_or(Duration::ZERO, |gate| gate.spent);
            return Duration::from_micros(self.usage.cpu_user_us + self.usage.cpu_system_us) + gate;
        }
        let Some(snapshot) = snapshot else { return self.tree_cpu.last };
        let used = self.tree_cpu.used(snapshot, sources);
        let (user, system) = snapshot.living().fold((0, 0), |(u, s), p| (u + p.user_ticks, s + p.system_ticks));
        let (reaped_user, reaped_system) = process::reaped_cpu_us();
        let tick = micros(ticks());
        self.split_cpu(micros(used), user * tick + reaped_user, system * tick + reaped_system);
        used
    }

    /// Splits a total in the proportion of two coarser figures.
    fn split_cpu(&mut self, total: u64, user: u64, system: u64) {
        let share = u128::from(total) * u128::from(system) / u128::from((user + system).max(1));
        self.usage.cpu_system_us = u64::try_from(share).unwrap_or(total).min(total);
        self.usage.cpu_user_us = total - self.usage.cpu_system_us;
    }

    fn read_memory(&mut self, sources: &Sources<'_>, snapshot: Option<&Snapshot>) -> Option<u64> {
        let threshold = self.limits.memory_bytes.unwrap_or(u64::MAX);
        let bytes = match sources.group.filter(|group| group.limits_memory()) {
            Some(group) => group.memory(),
            None => snapshot.map(|snapshot| memory::of_tree(snapshot, threshold).bytes),
        };
        // No process has none: the charge of a moment ago has not arrived yet.
        let bytes = bytes.filter(|bytes| *bytes > 0);
        self.usage.memory_bytes = bytes.or(self.usage.memory_bytes);
        self.usage.memory_peak_bytes = self.usage.memory_peak_bytes.max(bytes);
        bytes
    }

    fn read_tasks(&mut self, sources: &Sources<'_>, snapshot: Option<&Snapshot>) {
        let tasks = sources.group.and_then(Group::tasks).or_else(|| snapshot.map(Snapshot::tasks));
        self.usage.pids = tasks.or(self.usage.pids);
        self.usage.pids_peak = self.usage.pids_peak.max(tasks);
        self.count_denied(sources);
    }

    fn count_denied(&mut self, sources: &Sources<'_>) {
        let by_group = sources.group.and_then(Group::tasks_denied).map(|now| now.saturating_sub(self.denied_base));
        self.usage.pids_denied = by_group.or_else(|| sources.gate.map(|gate| gate.denied)).unwrap_or(0);
    }

    /// The sandbox's own memory, where its end would be everybody's and is ours to prevent, and what is left of it.
    fn read_container(&self, sources: &Sources<'_>) -> Option<(Reading, u64)> {
        self.limits.memory_bytes?;
        if sources.group.is_some_and(Group::limits_memory) {
            return None;
        }
        let reading = sources.context.container_memory.as_ref()?.read()?;
        Some((reading, budget::container_headroom(reading.limit, reading.unreclaimable)))
    }

    fn plan_next(&mut self, sources: &Sources<'_>, cpu: Duration, memory: Option<u64>, container: Option<u64>) {
        self.peak_interval = (self.peak_interval * 2).min(budget::MEMORY_LOOK_MAX);
        let mut wait = self.peak_interval;
        if let Some(limit) = self.limits.cpu_time_ms {
            let floor = if self.cpu_by_tree(sources) { CPU_FLOOR_TREE } else { CPU_FLOOR };
            let remaining = Duration::from_millis(limit).saturating_sub(cpu);
            wait = wait.min(budget::cpu_look_in(remaining, sources.context.cores, floor));
        }
        if let Some(limit) = self.limits.memory_bytes.filter(|_| !sources.group.is_some_and(Group::limits_memory)) {
            let own = limit.saturating_sub(memory.unwrap_or(0));
            wait = wait.min(budget::memory_look_in(own.min(container.unwrap_or(u64::MAX))));
        }
        self.look_at = time::monotonic() + wait;
    }

    /// What the kernel did by itself: it killed for memory since the start, and the limit that was reached is ours. A kill because an
    /// ancestor ran out (the sandbox itself) is not our limit, and is no breach.
    pub(crate) fn evidence(&mut self, sources: &Sources<'_>) -> Option<Breach> {
        let group = sources.group?;
        let allowed = self.limits.memory_bytes?;
        let counters = group.out_of_memory();
        if counters.oom_kills? <= self.baseline.oom_kills.unwrap_or(0) {
            return None;
        }
        let used = group.memory_charge_peak()?;
        let own_limit = match counters.own_ooms {
            Some(own) => own > self.baseline.own_ooms.unwrap_or(0),
            // v1 tells who was killed, not whose limit it was: charges come in batches of up to 64 pages a processor.
            None => used.saturating_add(V1_CHARGE_SLACK) >= allowed,
        };
        if !own_limit {
            return None;
        }
        // The kernel kills only when nothing can be reclaimed any more, so all that is charged counts.
        self.usage.memory_peak_bytes = self.usage.memory_peak_bytes.max(Some(used.min(allowed)));
        let mechanism = version_mechanism(sources.context.world.memory);
        Some(Breach { limit: LimitKey::MemoryBytes, allowed, used, mechanism })
    }

    fn cpu_breach(&mut self, sources: &Sources<'_>, used: Duration) -> Option<Breach> {
        let allowed = self.limits.cpu_time_ms?;
        let limit = Duration::from_millis(allowed);
        if used < limit {
            return None;
        }
        let mut used = used;
        if self.cpu_by_tree(sources) {
            // A process that ends between two reads of one pass could be counted twice; it cannot be in the next pass as well.
            let again = Snapshot::take(sources.root).ok()?;
            used = self.tree_cpu.used(&again, sources);
            if used < limit {
                return None;
            }
        }
        let used = u64::try_from(used.as_millis()).unwrap_or(u64::MAX);
        Some(Breach {
            limit: LimitKey::CpuTimeMs,
            allowed,
            used,
            mechanism: version_mechanism(sources.context.world.cpu_time),
        })
    }

    fn memory_breach(&self, sources: &Sources<'_>, used: Option<u64>) -> Option<Breach> {
        let allowed = self.limits.memory_bytes?;
        // A controller kills by itself; its reading may touch the limit without a kill.
        if sources.group.is_some_and(Group::limits_memory) {
            return None;
        }
        let mut used = used.filter(|used| *used > allowed)?;
        for _ in 0..VFORK_LOOKS {
            let snapshot = Snapshot::take(sources.root).ok()?;
            if !memory::may_share_an_address_space(&snapshot) {
                break;
            }
            std::thread::sleep(VFORK_PAUSE);
            used = memory::of_tree(&Snapshot::take(sources.root).ok()?, allowed).bytes;
            if used <= allowed {
                return None;
            }
        }
        Some(Breach { limit: LimitKey::MemoryBytes, allowed, used, mechanism: Mechanism::Watchdog })
    }

    /// Only where nothing refuses the clone itself.
    fn tasks_breach(&self, sources: &Sources<'_>) -> Option<Breach> {
        let allowed = self.limits.pids?;
        if sources.group.is_some_and(Group::limits_pids) || sources.gate.is_some() {
            return None;
        }
        let used = self.usage.pids.filter(|tasks| *tasks > allowed)?;
        Some(Breach { limit: LimitKey::Pids, allowed, used, mechanism: Mechanism::Watchdog })
    }

    /// Refused tasks so far, for types that end the execution on the first.
    pub(crate) fn pids_denied_breach(&mut self, sources: &Sources<'_>) -> Option<Breach> {
        let allowed = self.limits.pids?;
        self.count_denied(sources);
        let mechanism = if sources.group.is_some_and(Group::limits_pids) {
            version_mechanism(sources.context.world.pids)
        } else {
            Mechanism::Seccomp
        };
        (self.usage.pids_denied > 0).then_some(Breach { limit: LimitKey::Pids, allowed, used: allowed, mechanism })
    }

    /// Works on a look at storage; a finished one is compared with the limit.
    fn step_storage(&mut self, sources: &Sources<'_>) -> Option<Breach> {
        let allowed = self.limits.storage_bytes?;
        let pids = || match Snapshot::take(sources.root) {
            Ok(snapshot) => snapshot.living().map(|process| process.pid).collect(),
            Err(_) => Vec::new(),
        };
        let used = self.storage.as_mut()?.step(pids)?;
        self.usage.storage_bytes = Some(used);
        let exceeded = used > allowed;
        exceeded.then_some(Breach { limit: LimitKey::StorageBytes, allowed, used, mechanism: Mechanism::Watchdog })
    }
}

impl TreeCpu {
    fn begin(&mut self, sources: &Sources<'_>) {
        let Ok(snapshot) = Snapshot::take(sources.root) else { return };
        self.base = Self::owned(&snapshot);
        let counter = sources.context.cpu_counter.as_ref().and_then(super::context::CpuCounter::read_us);
        self.container_base = counter.map(|us| (us, snapshot.cpu_of_all(ticks())));
    }

    /// CPU time of living and waited-for processes of the tree.
    fn owned(snapshot: &Snapshot) -> Duration {
        let (user, system) = process::reaped_cpu_us();
        Duration::from_micros(user + system) + snapshot.tree().map(|process| process.cpu(ticks())).sum()
    }

    fn used(&mut self, snapshot: &Snapshot, sources: &Sources<'_>) -> Duration {
        let owned = Self::owned(snapshot).saturating_sub(self.base);
        // /proc shows waited-for children in whole ticks: that much of a drop is rounding, for each process that has some.
        let parents = snapshot.tree().filter(|process| process.children_ticks > 0).count();
        let rounding = ticks() * 2 * u32::try_from(parents + 1).unwrap_or(u32::MAX);
        self.lost += self.last.saturating_sub(owned).saturating_sub(rounding);
        self.last = owned;
        // A process that was seen and then vanished is in both figures; the larger one holds all of it.
        let gate = sources.gate.map_or(Duration::ZERO, |gate| gate.spent);
        let used = owned + self.lost.max(self.unowned(snapshot, sources)) + gate;
        self.charged = self.charged.max(used);
        used
    }

    /// Growth of the container's counter that no process accounts for. Charged only to executions that can have made it: children end
    /// unwaited-for only where somebody told the kernel so.
    fn unowned(&self, snapshot: &Snapshot, sources: &Sources<'_>) -> Duration {
        let suspect = sources.gate.is_none_or(|gate| gate.child_action);
        let Some((counter_base, all_base)) = self.container_base.filter(|_| suspect) else { return Duration::ZERO };
        let counter = sources.context.cpu_counter.as_ref().and_then(super::context::CpuCounter::read_us);
        let grown = Duration::from_micros(counter.unwrap_or(0).saturating_sub(counter_base));
        let accounted = snapshot.cpu_of_all(ticks()).saturating_sub(all_base);
        grown.saturating_sub(accounted + UNOWNED_NOISE)
    }
}

fn version_mechanism(version: Option<CgroupVersion>) -> Mechanism {
    match version {
        Some(CgroupVersion::V1) => Mechanism::Cgroup1,
        Some(CgroupVersion::V2) => Mechanism::Cgroup2,
        None => Mechanism::Watchdog,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
