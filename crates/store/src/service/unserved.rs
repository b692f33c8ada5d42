//! What no other service here answers, so that each call is refused with its name: users (`etcdserverpb.Auth`), locks and
//! elections on the server's side (`v3lockpb`, `v3electionpb`), and what is no part of etcd's API at all.
//!
//! Authentication is off and stays off; the socket guards the store. A client with a user name calls Authenticate first,
//! and goes on without when it reads etcd's words for "not enabled".

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
};

/// Refuses whatever it is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unserved;

impl<B> Service<http::Request<B>> for Unserved {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        ready(Ok(refuse(request.uri().path()).into_http()))
    }
}

/// Words the refusal of a call of `/SERVICE/METHOD`.
fn refuse(path: &str) -> Status {
    let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or(("", path));
    let reason = match (service, method) {
        ("etcdserverpb.Auth", "Authenticate") => {
            return Status::failed_precondition("etcdserver: authentication is not enabled");
        }
        ("etcdserverpb.Auth", _) => "the store has no users, who can reach its socket may do everything",
        ("v3lockpb.Lock" | "v3electionpb.Election", _) => {
            "clients lock and elect with keys and leases, as etcdctl lock and elect do"
        }
        _ => return Status::unimplemented(format!("tortie store: {path} is not supported")),
    };
    Status::unimplemented(format!("tortie store: {method} is not supported: {reason}"))
}
