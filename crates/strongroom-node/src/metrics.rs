//! The names of all metrics, and what each one means. No label holds anything about a user: the
//! labels are `problem`, `error`, `event` and `class`, each with a fixed set of values. How many
//! guesses were spent or proved right is not among them: the HSM tells its host no outcomes (DESIGN
//! §5).

use crate::NodeError;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::{Mutex, PoisonError};
use strongroom_peers::PEER_EVENTS;
use strongroom_wire::entry::{EntryHeader, State};

/// Answers that were problems, by `problem`.
pub const PROBLEMS: &str = "strongroom_problems_total";
/// Refusals and failures of the HSM, by `error`.
pub const HSM_ERRORS: &str = "strongroom_hsm_errors_total";
/// How often the HSM had to be started again.
pub const RESTARTS: &str = "strongroom_engine_restarts_total";
/// Whether the HSM is at work.
pub const READY: &str = "strongroom_ready";
/// Newest entry applied.
pub const INDEX: &str = "strongroom_index";
/// Operations in a batch.
pub const BATCH: &str = "strongroom_batch_operations";
/// From a batch's proof to its answers.
pub const COMMIT: &str = "strongroom_commit_seconds";
/// From a request's body to its answer, by `class`.
pub const REQUEST: &str = "strongroom_request_seconds";
/// Tenants ever created.
pub const TENANTS: &str = "strongroom_tenants_total";
/// Connections refused at the limit.
pub const CONNECTIONS_REFUSED: &str = "strongroom_connections_refused_total";
/// What the replica did, by `event`: `leads`, `deposed`, `follows`, `behind`, `refused`.
pub const REPLICA_EVENTS: &str = "strongroom_replica_events_total";

/// Installs the recorder once for this process, and describes every metric.
pub(crate) fn install() -> Result<PrometheusHandle, NodeError> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .map_err(|e| NodeError::Config(format!("metrics: {e}")))?;
    describe();
    Ok(installed.insert(handle).clone())
}

fn describe() {
    describe_counter!(PROBLEMS, "Answers that were problems (RFC 9457), by name");
    describe_counter!(HSM_ERRORS, "Refusals and failures of the HSM, by name");
    describe_counter!(RESTARTS, "How often the HSM had to be started again");
    describe_gauge!(READY, "1 while the HSM is at work");
    describe_gauge!(INDEX, "Newest entry applied");
    describe_histogram!(BATCH, "Operations in a batch");
    describe_histogram!(COMMIT, Unit::Seconds, "From a batch's proof to its answers");
    describe_histogram!(REQUEST, Unit::Seconds, "From body to answer, by class");
    describe_counter!(REPLICA_EVENTS, "What the replica did, by name");
    describe_counter!(PEER_EVENTS, "What went wrong between hosts, by name");
    describe_counter!(TENANTS, "Tenants ever created");
    describe_counter!(CONNECTIONS_REFUSED, "Connections refused at the limit");
}

/// Where the chain stands.
pub(crate) fn standing(header: &EntryHeader, state: &State) {
    metrics::gauge!(INDEX).set(float(header.index.0));
    metrics::counter!(TENANTS).absolute(state.tenants);
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}
