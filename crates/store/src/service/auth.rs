//! `etcdserverpb.Auth`: authentication is off and stays off; the socket's mode guards the store.
//!
//! Written by hand, because not all of the service's messages are among the public generated types, and none is needed
//! to refuse. A client with a user name calls Authenticate first, and goes on without when it reads etcd's words for
//! "not enabled"; everything else is unimplemented.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

/// The service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Auth;

impl NamedService for Auth {
    const NAME: &'static str = "etcdserverpb.Auth";
}

impl Service<http::Request<Body>> for Auth {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        ready(Ok(refuse(method).into_http()))
    }
}

fn refuse(method: &str) -> Status {
    match method {
        "Authenticate" => Status::failed_precondition("etcdserver: authentication is not enabled"),
        method => Status::unimplemented(format!(
            "tortie store: {method} is not supported: the store has no users, its socket's mode guards it"
        )),
    }
}
