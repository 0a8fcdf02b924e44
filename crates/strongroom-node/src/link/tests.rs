//! The test plays the HSM: what a caller leaves behind, and what ends the link.

use super::{Link, LinkError, Opening};
use crate::record::Recorder;
use std::time::Duration;
use strongroom_wire::frame::{Request, Response};
use strongroom_wire::{Handle, RecordId, decode, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

const LONG: Duration = Duration::from_secs(300);

/// A link, and the other end of it: the test is the HSM.
fn pair(silence: Duration) -> (Link, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Link::over(ours, silence, Recorder::default()), theirs)
}

async fn asked(hsm: &mut UnixStream) -> (u64, Request) {
    let length = usize::try_from(hsm.read_u32().await.unwrap()).unwrap();
    let sequence = hsm.read_u64().await.unwrap();
    let mut body = vec![0; length - 8];
    hsm.read_exact(&mut body).await.unwrap();
    (sequence, decode(&body).unwrap())
}

async fn answer(hsm: &mut UnixStream, sequence: u64, response: &Response) {
    let body = encode(response);
    let length = u32::try_from(body.len() + 8).unwrap();
    hsm.write_u32(length).await.unwrap();
    hsm.write_u64(sequence).await.unwrap();
    hsm.write_all(&body).await.unwrap();
}

fn opened(handle: u64) -> Response {
    Response::Opened {
        handle: Handle(handle),
        record: RecordId([0; 32]),
        tenant: None,
    }
}

async fn forgets(hsm: &mut UnixStream, handle: u64) {
    let (_, request) = asked(hsm).await;
    let handles = vec![Handle(handle)];
    assert_eq!(request, Request::Forget { handles });
}

#[tokio::test]
async fn an_operation_is_forgotten_unless_it_is_settled() {
    let (link, mut hsm) = pair(LONG);
    for settled in [true, false] {
        let caller = link.clone();
        let call = tokio::spawn(async move { caller.open(vec![1]).await });
        let (sequence, _) = asked(&mut hsm).await;
        answer(&mut hsm, sequence, &opened(7)).await;
        let Opening::Opened { open, .. } = call.await.unwrap().unwrap() else {
            panic!("not opened");
        };
        assert!(open.is_on(&link) && !open.is_on(&pair(LONG).0));
        if settled {
            open.settle();
        }
    }
    // Of the two, one.
    forgets(&mut hsm, 7).await;
}

#[tokio::test]
async fn what_was_opened_for_a_caller_that_went_away_is_forgotten() {
    let (link, mut hsm) = pair(LONG);
    let caller = link.clone();
    let call = tokio::spawn(async move { caller.open(vec![1]).await.map(|_| ()) });
    let (sequence, _) = asked(&mut hsm).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    answer(&mut hsm, sequence, &opened(9)).await;
    forgets(&mut hsm, 9).await;
}

#[tokio::test]
async fn one_call_without_an_answer_ends_them_all() {
    let (link, mut hsm) = pair(Duration::from_millis(20));
    let calls = [link.clone(), link.clone()]
        .map(|link| tokio::spawn(async move { link.call(&Request::Inspect).await }));
    asked(&mut hsm).await;
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, LinkError::Silent | LinkError::Closed));
    }
    link.closed().await;
    let later = link.call(&Request::Inspect).await;
    assert_eq!(later, Err(LinkError::Closed));
}

#[tokio::test]
async fn an_hsm_that_speaks_no_frames_is_given_up() {
    for junk in [
        &[0, 0, 0, 7][..],
        &[255; 12],
        &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 255],
    ] {
        let (link, mut hsm) = pair(LONG);
        hsm.write_all(junk).await.unwrap();
        link.closed().await;
        let call = link.call(&Request::Inspect).await;
        assert_eq!(call, Err(LinkError::Closed));
    }
}
