//! What a connection to an upstream keeps between two requests.

use super::*;
use crate::http1::later::tests::Nothing;
use crate::http1::wire::tests::Pieces;

#[test]
fn whoever_has_answered_holds_no_buffer() {
    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answers: [&[&'static [u8]]; 6] = [
        &[b"HTTP/1.1 204 No Content\r\n\r\n"],
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"],
        &[LENGTH, b"12", b"345"],
        &[CHUNKED, b"5\r\n12345\r\n0\r\n\r\n"],
        &[CHUNKED, b"5\r\n12345\r\n", b"0\r\n\r\n"],
    ];
    for answer in answers {
        let context = &mut Context::from_waker(Waker::noop());
        let wire = Wire::new(Pieces(answer.iter().copied().collect()));
        let mut request = Request::<Nothing>::default();
        assert!(wire.begin(&request));
        assert!(matches!(wire.poll_answer(&mut request, context), Poll::Ready(Ok(Answered::Response(_)))));
        if let Some(number) = Link::<Nothing>::what_is_left(&*wire).number {
            while let Poll::Ready(Some(frame)) = wire.poll_frame(number, context) {
                frame.expect("well formed");
            }
        }
        assert!(wire.poll_usable(context), "{}", String::from_utf8_lossy(&answer.concat()));
        let held = wire.0.borrow().inbound.held();
        assert_eq!(held, 0, "{}", String::from_utf8_lossy(&answer.concat()));
    }
}
