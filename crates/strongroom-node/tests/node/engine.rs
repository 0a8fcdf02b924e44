//! The engine by itself, across the deaths of its HSM.

use crate::common::{SLOT, Server, until};
use rustix::process::Signal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_client::session::{self, Outgoing};
use strongroom_client::{Fleet, Roots};
use strongroom_node::admission::Admission;
use strongroom_node::engine::{
    self, Channels, EngineError, Job, Live, Operation, Settings, Watched,
};
use strongroom_node::link::Opening;
use strongroom_node::record::Recorder;
use strongroom_node::roster::{Roster, Rosters};
use strongroom_wire::MemberId;
use strongroom_wire::frame::Request;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

struct Engine {
    server: Server,
    fleet: Fleet,
    jobs: mpsc::Sender<Job>,
    live: watch::Receiver<Option<Live>>,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), EngineError>>,
}

impl Engine {
    async fn start() -> Self {
        let server = Server::found().await;
        let bundle = strongroom_node::store::Store::open(&server.config.store_dir());
        let bundle = bundle.unwrap().bundle().unwrap().unwrap();
        let fleet = Fleet::from_bundle(&bundle, &Roots::development(server.fleet)).unwrap();
        let settings = Settings {
            store: server.config.store_dir(),
            hsm_dir: server.config.hsm_dir(),
            hsm: server.config.hsm_command().unwrap(),
            hsm_silence: Duration::from_secs(60),
            log_kept: 0,
            admission: Arc::new(Admission::new(server.fleet, fleet.manifest().admin)),
            member: MemberId(1),
            rosters: Rosters::new(Roster::of(&bundle).unwrap()),
            data: server.config.data.clone(),
            peers: None,
            recorder: Recorder::default(),
        };
        let (jobs, received) = mpsc::channel(8);
        let (sender, live) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let channels = Channels {
            jobs: received,
            messages: mpsc::channel(1).1,
            stop: stopped,
        };
        let watched = Watched {
            live: sender,
            leader: watch::channel(None).0,
            looked: Arc::default(),
            began: Instant::now(),
        };
        let running = tokio::spawn(engine::run(Arc::new(settings), channels, watched));
        Self {
            server,
            fleet,
            jobs,
            live,
            stop,
            running,
        }
    }

    async fn live(&mut self) -> Live {
        let live = self.live.wait_for(Option::is_some).await.unwrap();
        live.clone().unwrap()
    }

    /// Kills the HSM, until the engine has noticed.
    async fn kill(&mut self) {
        self.server.signal(Signal::KILL);
        self.live.wait_for(Option::is_none).await.unwrap();
    }

    fn ask(&self, subject: &str) -> Outgoing {
        let user = self.server.user(subject);
        session::status(&self.fleet, &user.now(), SLOT, None).unwrap()
    }
}

/// Opened and evaluated in that process, ready to be decided.
async fn prepared(live: &Live, outgoing: &Outgoing) -> (Operation, oneshot::Receiver<Vec<u8>>) {
    let opening = live.link.open(outgoing.envelope.clone()).await.unwrap();
    let Opening::Opened {
        open,
        record,
        tenant,
    } = opening
    else {
        panic!("answered at once");
    };
    let evaluate = Request::Evaluate {
        handle: open.handle(),
        record: None,
        tenant: None,
    };
    live.link.call(&evaluate).await.unwrap();
    let (answer, answered) = oneshot::channel();
    let operation = Operation {
        open,
        record,
        tenant,
        evaluated: true,
        tries: 0,
        answer,
    };
    (operation, answered)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_of_a_dead_process_never_gets_the_answer_of_its_namesake() {
    let mut engine = Engine::start().await;
    let old = engine.live().await;
    let (stale, lost) = prepared(&old, &engine.ask("alice")).await;
    drop(old);
    engine.kill().await;
    let new = engine.live().await;
    let asked = engine.ask("bob");
    let (fresh, answered) = prepared(&new, &asked).await;
    assert_eq!(stale.open.handle(), fresh.open.handle(), "the same name");
    for operation in [stale, fresh] {
        let queued = engine.jobs.send(Job::Operation(operation)).await;
        assert!(queued.is_ok());
    }
    assert!(lost.await.is_err(), "told that its answer is lost");
    let answer = answered.await.unwrap();
    asked.open(&answer).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_still_holds_the_store_delays_the_engine_and_does_not_end_it() {
    let mut engine = Engine::start().await;
    let held = engine.live().await;
    let first = engine.server.hsm_pid();
    engine.kill().await;
    // It finds the store in use, by this process itself, and tries again.
    let store = engine.server.config.store_dir();
    let in_use = strongroom_node::store::Store::open(&store).map(|_| ());
    assert!(in_use.is_err());
    for _ in 0..3 {
        until("it is still trying", || async {
            (!engine.running.is_finished()).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(engine.server.hsm_pid(), first, "no other HSM meanwhile");
    drop(held);
    engine.live().await;
    assert_ne!(engine.server.hsm_pid(), first);
    engine.stop.send_replace(true);
    engine.running.await.unwrap().unwrap();
}
