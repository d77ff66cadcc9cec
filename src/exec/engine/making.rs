//! What an execution is made of: identity, work directory, specification, its view, and the reserve that its start finds.

use super::Engine;
use crate::exec::env;
use crate::exec::network::Surroundings;
use crate::exec::request::{Resolved, StartError, StartRequest, resolve};
use crate::exec::status::Status;
use crate::exec::view::{ExecutionView, UsageView, limits_view};
use crate::supervisor::protocol::{NetworkRules, Shape, Spec};
use crate::supervisor::strings::{HoldsNul, Strings};
use crate::telemetry::clock::rfc3339;
use std::path::{Path, PathBuf};

impl Engine {
    /// Makes a supervisor ready for a start of the shape that most agent types have. What else is asked for gets one from then on.
    pub fn expect_the_usual(&self) {
        let types = self.agent_types();
        let shapes: Vec<Shape> = types.names().filter_map(|name| self.shape_of(name)).collect();
        let count = |shape: &Shape| shapes.iter().filter(|other| *other == shape).count();
        if let Some(shape) = shapes.iter().max_by_key(|shape| count(shape)) {
            self.inner.shared.pool.expect(*shape);
        }
    }

    fn shape_of(&self, agent_type: &str) -> Option<Shape> {
        let inner = &self.inner;
        let start = StartRequest {
            agent_type: Some(agent_type.to_owned()),
            argv: vec![b"true".to_vec()],
            ..StartRequest::default()
        };
        let start = self.with_default_user(start);
        let resolved =
            resolve(&start, &self.agent_types(), &inner.default_type, &inner.world, inner.daemon_uid).ok()?;
        Some(self.spec("", &start, &resolved, Path::new("/"), false).ok()?.shape())
    }

    pub(super) fn with_default_user(&self, mut request: StartRequest) -> StartRequest {
        let named = request.agent_type.as_deref().unwrap_or(&self.inner.default_type);
        let typed = self.agent_types().get(named).is_some_and(|agent_type| agent_type.uid.is_some());
        if let Some((uid, gid)) = self.inner.user.filter(|_| request.uid.is_none() && !typed) {
            request.uid = Some(uid);
            request.gid = request.gid.or(gid);
        }
        request
    }

    pub(super) fn work_dir(
        &self,
        id: &str,
        request: &StartRequest,
        resolved: &Resolved,
    ) -> Result<(PathBuf, Option<PathBuf>), StartError> {
        if let Some(cwd) = &request.cwd {
            return Ok((cwd.clone(), None));
        }
        let dir = self.inner.shared.work_dirs.take(id, resolved.uid, resolved.gid).map_err(|error| {
            StartError::Internal(format!("{error}; give \"cwd\", or set --work-root to a writable folder"))
        })?;
        Ok((dir.clone(), Some(dir)))
    }

    pub(super) fn spec(
        &self,
        id: &str,
        request: &StartRequest,
        resolved: &Resolved,
        cwd: &Path,
        fresh: bool,
    ) -> Result<Spec, HoldsNul> {
        let agent_type = &resolved.agent_type;
        let env = env::build(
            &self.inner.base_env,
            &request.env,
            id,
            agent_type,
            request.task_id.as_deref(),
            fresh.then_some(cwd),
        );
        Ok(Spec {
            argv: Strings::new(&request.argv)?,
            env: Strings::new(&env)?,
            cwd: cwd.to_owned(),
            storage_root: cwd.to_owned(),
            storage_fresh: fresh,
            uid: resolved.uid,
            gid: resolved.gid,
            limits: resolved.limits.clone(),
            grace_ms: agent_type.grace_ms,
            survivors: agent_type.survivors,
            on_pids: agent_type.on_pids,
            confined: resolved.confined,
            keep_capabilities: env::capability_mask(&agent_type.keep_capabilities),
            hold: request.hold,
            network: (agent_type.network_gate || resolved.policy.is_some()).then(|| self.network_rules(resolved)),
        })
    }

    fn network_rules(&self, resolved: &Resolved) -> NetworkRules {
        let Surroundings { control_ports, control_guarded, resolvers, .. } = self.inner.surroundings.clone();
        NetworkRules {
            limit: resolved.limits.network_requests,
            on_limit: resolved.agent_type.on_network,
            proxied: resolved.policy.is_some(),
            control_ports,
            control_guarded,
            resolvers,
        }
    }

    pub(super) fn view(
        &self,
        id: &str,
        now: u64,
        request: &StartRequest,
        resolved: &Resolved,
        spec: &Spec,
    ) -> ExecutionView {
        ExecutionView {
            id: id.to_owned(),
            status: Status::Queued,
            reason: None,
            exit_code: None,
            signal: None,
            message: None,
            agent_type: resolved.agent_type.name.clone(),
            task_id: request.task_id.clone(),
            command: request.argv.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect(),
            cwd: spec.cwd.to_string_lossy().into_owned(),
            labels: request.labels.clone(),
            created_at: rfc3339(now),
            started_at: None,
            finished_at: None,
            pid: None,
            limits: limits_view(&resolved.limits, &resolved.enforcement),
            containment: self.containment(),
            usage: UsageView::default(),
            breach: None,
            pipes_held_open: false,
            survivors: false,
            private_dir: spec.storage_fresh && !request.keep_work_dir,
            attempt: 1,
            attempts: Vec::new(),
            last_output_at: None,
        }
    }
}
