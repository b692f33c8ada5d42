//! What goes round every request: a call is counted, and must come over HTTP/2 with gRPC's content type.
//!
//! A web page can have a browser on this host send HTTP/1 requests here, and requests with a content type of a form; not
//! HTTP/2 in clear text, and not gRPC's content type, unless it is asked first whether it may. So only what tells nothing
//! of the data is answered otherwise.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Version, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body::{Frame, SizeHint};
use tonic::{Code, Status};

use super::http;
use crate::{metrics::Call, shared::Shared};

/// Passes a request on, if it is one that may be answered; counts it if it is a call.
pub(super) async fn observe(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if http::PATHS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    if request.version() < Version::HTTP_2 {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/grpc is expected\n").into_response();
    }
    let Some(call) = Call::of(request.uri().path()) else { return next.run(request).await };
    shared.metrics.started(call);
    // a client that leaves before there is an answer drops this
    let mut ending = Ending { shared, call, code: Code::Cancelled };
    let (head, body) = next.run(request).await.into_parts();
    if let Some(code) = code(&head.headers) {
        ending.code = code;
    }
    Response::from_parts(head, Body::new(Answer { body, ending }))
}

/// The status in headers or trailers.
fn code(headers: &HeaderMap) -> Option<Code> {
    Status::from_header_map(headers).map(|status| status.code())
}

/// Counts how a call ended, when it is dropped.
struct Ending {
    shared: Arc<Shared>,
    call: Call,
    code: Code,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.shared.metrics.handled(self.call, self.code);
    }
}

/// A body whose trailers say how the call ended.
struct Answer {
    body: Body,
    ending: Ending,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(code) = frame.trailers_ref().and_then(code)
        {
            self.ending.code = code;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
