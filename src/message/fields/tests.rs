//! Fields: their order and case, what goes out in one piece, and what is not in the head.

use super::*;
use crate::message::HOP_BY_HOP;

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

fn sent(head: &'static str) -> Fields {
    let mut fields = Fields::of(Bytes::from_static(head.as_bytes()));
    for line in head.lines() {
        let (name, text) = line.split_once(": ").unwrap();
        assert!(fields.append_sent(Name::of(name.as_bytes()), name, text.as_bytes()));
    }
    fields
}

fn told(fields: &Fields) -> Vec<String> {
    fields.iter().map(|(name, value)| format!("{}={}", str::from_utf8(name).unwrap(), text(value).unwrap())).collect()
}

#[test]
fn order_and_case_stay() {
    let mut fields = sent("HOST: a\nX-b: 1\nCookie: c\nx-B: 2\nAccept: d");
    assert_eq!(fields.get("host"), Some(&b"a"[..]));
    assert_eq!(fields.get_all("x-b").collect::<Vec<_>>(), [b"1", b"2"]);
    fields.insert(HeaderName::from_static("host"), value("z"));
    fields.insert(HeaderName::from_static("x-new"), value("n"));
    fields.insert(HeaderName::from_static("x-b"), value("3"));
    assert_eq!(told(&fields), ["HOST=z", "X-b=3", "Cookie=c", "Accept=d", "x-new=n"]);
    assert!(fields.remove("cookie") && !fields.remove("cookie") && !fields.contains_key("cookie"));
    fields.retain(|name, _| !name.eq_ignore_ascii_case(b"accept"));
    fields.append(HeaderName::from_static("host"), value("y"));
    assert_eq!(told(&fields), ["HOST=z", "X-b=3", "x-new=n", "host=y"]);
    assert!(!fields.is_empty());
}

#[test]
fn a_name_that_stands_for_many_is_found_by_its_text() {
    let mut fields = sent("Keep-Alive: 5\nProxy-Connection: k\nUpgrade: u\nx-ssl: a\nX_SSL: b\nx-own: o");
    assert_eq!((fields.get("keep-alive"), fields.get("PROXY-connection")), (Some(&b"5"[..]), Some(&b"k"[..])));
    assert_eq!((fields.get("x-ssl"), fields.get("x_ssl"), fields.get("x.ssl")), (Some(&b"a"[..]), Some(&b"b"[..]), None));
    assert_eq!((fields.get(Name::Hop), fields.get(Name::Upgrade)), (None, Some(&b"u"[..])));
    fields.remove_all(HOP_BY_HOP.and(Names::of(&[Name::Claimed])));
    assert_eq!(told(&fields), ["x-own=o"]);
    assert!(!fields.may_have(HOP_BY_HOP));
}

#[test]
fn a_line_is_whole_where_it_is_as_it_came() {
    let head = Bytes::from_static(b"A: 1\r\nB:2\r\nC:  3\r\nD: 4\r\nE: 5 \r\n\r\n");
    let mut fields = Fields::of(head.clone());
    for (name, value) in [(0..1, 3..4), (6..7, 8..9), (11..12, 15..16), (18..19, 21..22), (24..25, 27..28)] {
        assert!(fields.append_sent(Name::of(&head[name.clone()]), str::from_utf8(&head[name]).unwrap(), &head[value]));
    }
    fields.insert(HeaderName::from_static("d"), value("9"));
    fields.append(HeaderName::from_static("f"), value("6"));
    let runs: Vec<_> = fields.runs(Names::default()).collect();
    // Ours is written with the spelling that came.
    let expected = [
        Run::Lines(b"A: 1\r\n"),
        Run::Field(Name::Other, b"B", b"2"),
        Run::Field(Name::Other, b"C", b"3"),
        Run::Lines(b"D: 9\r\n"),
        Run::Field(Name::Other, b"E", b"5"),
        Run::Lines(b"f: 6\r\n"),
    ];
    assert_eq!(runs, expected);
}

#[test]
fn lines_beside_each_other_are_one_piece_but_for_those_to_be_looked_at() {
    let head = Bytes::from_static(b"A: 1\r\nB: 2\r\nDate: d\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n");
    let mut fields = Fields::of(head.clone());
    for line in str::from_utf8(&head).unwrap().trim_end().split("\r\n") {
        let (name, value) = line.split_once(": ").unwrap();
        assert!(fields.append_sent(Name::of(name.as_bytes()), name, value.as_bytes()));
    }
    fields.append(HeaderName::from_static("x"), value("6"));
    fields.append(HeaderName::from_static("y"), value("7"));
    assert!(fields.remove("d"));
    let runs: Vec<_> = fields.runs(Names::of(&[Name::Date])).collect();
    let expected = [
        Run::Lines(b"A: 1\r\nB: 2\r\n"),
        Run::Field(Name::Date, b"Date", b"d"),
        Run::Lines(b"C: 3\r\n"),
        Run::Lines(b"E: 5\r\n"),
        Run::Lines(b"x: 6\r\ny: 7\r\n"),
    ];
    assert_eq!(runs, expected);
}

#[test]
fn lines_of_ours_are_added_all_at_once() {
    let mut ours = Fields::default();
    ours.append(HeaderName::from_static("x-a"), value("1"));
    ours.append(HeaderName::from_static("x-b"), value(""));
    ours.shrink_to_fit();
    let mut fields = sent("Host: h");
    fields.insert(HeaderName::from_static("te"), value("trailers"));
    fields.append_all(&ours);
    assert_eq!(told(&fields), ["Host=h", "te=trailers", "x-a=1", "x-b="]);
    assert_eq!(fields.runs(Names::default()).last(), Some(Run::Lines(b"te: trailers\r\nx-a: 1\r\nx-b: \r\n")));
    assert!(fields.contains_key("x-b") && !fields.may_have(Names::of(&[Name::Respelled])) && fields.are_shorter_than(9));
    ours.append(HeaderName::from_static("te_"), value("trailers too"));
    fields.append_all(&ours);
    assert!(fields.may_have(Names::of(&[Name::Respelled])) && !fields.are_shorter_than(12) && fields.are_shorter_than(13));
    assert_eq!(fields.get("TE_"), Some(&b"trailers too"[..]));
}

#[test]
fn what_is_not_in_the_head_has_no_place() {
    let head = Bytes::from_static(b"a: b");
    let mut fields = Fields::of(head.clone());
    let name = str::from_utf8(&head[..1]).unwrap();
    let foreign = String::from("x");
    assert!(
        !fields.append_sent(Name::of(foreign.as_bytes()), &foreign, b"y")
            && !fields.append_sent(Name::of(name.as_bytes()), name, foreign.as_bytes())
    );
    assert!(fields.is_empty() && fields.get("x").is_none());
    // Nothing lies anywhere.
    assert!(fields.append_sent(Name::of(name.as_bytes()), name, &[]));
    assert_eq!(told(&fields), ["a="]);
}

#[test]
fn maps_are_read_and_made() {
    let mut map = HeaderMap::new();
    for (name, text) in [("x-a", "1"), ("host", "h"), ("x-a", "2")] {
        map.append(name, value(text));
    }
    assert_eq!(Fields::from(map.clone()).to_map(), map);
    let sent = sent("X-A: 1\nHost: h\nx-a: 2");
    assert_eq!(sent.to_map(), map);
    assert_eq!(told(&sent.clone()), told(&sent));
}

#[test]
fn long_names_are_found() {
    let (long, longer) = ("n".repeat(63), "n".repeat(64));
    let fields: Fields = [&long, &longer].map(|name| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value(name))).into_iter().collect();
    assert_eq!((fields.get(&long), fields.get(&longer)), (Some(long.as_bytes()), Some(longer.as_bytes())));
}

#[test]
fn what_is_shown_tells_no_value() {
    assert_eq!(format!("{:?}", sent("Authorization: secret")), r#"["Authorization"]"#);
}

#[test]
fn what_is_lent_again_has_nothing_of_whom_it_was_lent_to_before() {
    let head = Bytes::from_static(b"cookie: secret\r\n\r\n");
    let (name, value) = (str::from_utf8(&head[..6]).unwrap(), &head[8..14]);
    for _ in 0..2 * MOST {
        let mut fields = Fields::of(head.clone());
        assert!(fields.append_sent(Name::Cookie, name, value));
        fields.append(Name::Host, HeaderValue::from_static("a.example"));
        drop(fields);
        let mut next = Fields::of(Bytes::new());
        assert!(next.is_empty() && next.are_shorter_than(1) && !next.may_have(Names::of(&[Name::Cookie, Name::Host])));
        assert_eq!((next.iter().count(), next.runs(Names::default()).count()), (0, 0));
        assert!(!next.append_sent(Name::Cookie, name, value), "it lies in a head that is gone");
        next.append(Name::Host, HeaderValue::from_static("b.example"));
        assert_eq!(next.runs(Names::default()).collect::<Vec<_>>(), [Run::Lines(b"host: b.example\r\n")]);
    }
}
