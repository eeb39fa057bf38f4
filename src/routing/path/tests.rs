//! The tricks that are played with paths, in tables and at random.

use super::*;

#[test]
fn a_path_has_one_normal_form() {
    let table = [
        ("", "/"),
        ("*", "*"),
        ("/", "/"),
        ("/orders/7", "/orders/7"),
        ("/a%2dB%7e", "/a-B~"),
        ("/%41%c3%a9", "/A%C3%A9"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("/{x}|\"<>^`", "/%7Bx%7D%7C%22%3C%3E%5E%60"),
        ("/a%3ab%2fc", "/a%3Ab%2Fc"),
        ("/a//b///c/", "/a/b/c/"),
        ("//", "/"),
        ("/a/./b/../c", "/a/c"),
        ("/public/../admin", "/admin"),
        ("/public/%2e%2e/admin", "/admin"),
        ("/public/%2E./admin", "/admin"),
        ("/public/.%2e", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/../../etc", "/etc"),
        ("/a//../b", "/a/b"),
        ("/...", "/..."),
        ("/.hidden/..x", "/.hidden/..x"),
        ("/a;b=c/d", "/a;b=c/d"),
        ("/a%25%32e", "/a%252e"),
    ];
    for (path, expected) in table {
        assert_eq!(normalise(path).map(|normal| normal.text.into_owned()), Ok(expected.to_owned()), "{path:?}");
    }
}

#[test]
fn a_path_without_a_normal_form_is_refused() {
    use PathError::*;
    let table = [
        ("/a\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/a%5Cb", Backslash),
        ("/a%00", Control),
        ("/a\0", Control),
        ("/a%0d%0aX: y", Control),
        ("/a\u{7f}", Control),
        ("/%7F", Control),
        ("/%C2%85", Control),
        ("/a%", BadEscape),
        ("/a%4", BadEscape),
        ("/a%zz", BadEscape),
        ("/a%+1", BadEscape),
        ("/a%u0041", BadEscape),
        ("/%ff", InvalidUtf8),
        ("/%c0%af", InvalidUtf8),
        ("/%e2%82", InvalidUtf8),
        ("/%c3x", InvalidUtf8),
        ("/%ed%a0%80", InvalidUtf8),
        ("/..;/admin", DotSegmentWithParameters),
        ("/.;x/admin", DotSegmentWithParameters),
        ("/%2e%2e;x", DotSegmentWithParameters),
        ("/...;x", DotSegmentWithParameters),
        ("/..%3b/admin", DotSegmentWithParameters),
        ("/public/..%2fadmin", DotSegmentWithEncodedSlash),
        ("/public%2f..", DotSegmentWithEncodedSlash),
        ("/public%2f%2e%2e%2fadmin", DotSegmentWithEncodedSlash),
        ("/public%2f./x", DotSegmentWithEncodedSlash),
        ("orders", NotAPath),
        ("*x", NotAPath),
        ("http://x/", NotAPath),
        ("/a#b", NotAPath),
        ("/a b", NotAPath),
    ];
    for (path, expected) in table {
        assert_eq!(normalise(path), Err(expected), "{path:?}");
    }
}

#[test]
fn a_normal_path_is_borrowed_and_stays_what_it_is() {
    for path in ["/", "/orders/7/", "/a;b/c", "/%2F%C3%A9%25", "/.well-known/x..", "/a:b@c!$&'()*+,="] {
        let normal = normalise(path).unwrap();
        assert!(matches!(normal.text, Cow::Borrowed(_)), "{path:?}");
        assert_eq!(normal.text, path);
    }
}

/// Random paths out of the pieces that tricks are made of: what comes out is normal, and reads the same twice.
#[test]
fn normalising_twice_changes_nothing() {
    let pieces = ["/", "//", ".", "..", "%2e", "%2E", "%2f", ";", "a", "B", "%41", "%c3%a9", "\u{e9}", "{", "%25", "+", "~"];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..50_000 {
        let mut path = String::from("/");
        for _ in 0..(state % 9) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            path.push_str(pieces[usize::try_from(state >> 33).unwrap() % pieces.len()]);
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let Ok(once) = normalise(&path) else { continue };
        let twice = normalise(&once.text).unwrap();
        assert_eq!(once.text, twice.text, "{path:?}");
        assert!(matches!(twice.text, Cow::Borrowed(_)), "{path:?} -> {:?}", once.text);
        assert!(once.text.starts_with('/') && !once.text.contains("//"), "{path:?}");
        assert!(once.text.split('/').all(|segment| !matches!(segment, "." | "..")), "{path:?}");
        assert_eq!((once.has_parameters, once.has_encoded_slash), (once.text.contains(';'), once.text.contains("%2F")), "{path:?}");
    }
}

#[test]
fn readings_of_other_upstreams() {
    let path = normalise("/a;x=1/;y/b%2fc;z").unwrap();
    assert_eq!(path.without_parameters(), "/a/b%2Fc");
    assert_eq!(path.with_slashes_decoded(), "/a;x=1/;y/b/c;z");
}

#[test]
fn the_target_keeps_its_query() {
    let original = PathAndQuery::from_static("/a/../b?x=/../y");
    assert_eq!(normalise(original.path()).unwrap().target(&original), "/b?x=/../y");
    let original = PathAndQuery::from_static("/b");
    assert_eq!(normalise(original.path()).unwrap().target(&original), "/b");
}
