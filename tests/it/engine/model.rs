//! Random exchanges through both sides of the engine, against what a plain reading of them says: pipelined, chunked, expected,
//! answered early, upgraded, cut anywhere, broken off by either side at any byte. `MODEL_ROUNDS=N MODEL_SEED=S` plays others.

use super::harness::{self, Gate, Heard, Script, Then};
use super::invariants;
use super::reference::{self, Body};

#[test]
fn random_exchanges_are_what_a_plain_reading_makes_of_them() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (first, rounds) = (number("MODEL_SEED", 1), number("MODEL_ROUNDS", 1500));
    let mut whole = 0;
    for seed in first..first + rounds {
        let plan = Plan::random(&mut Random(seed));
        let heard = harness::play(&plan.client, &plan.upstreams);
        let checked = invariants::check(&plan.client, &plan.upstreams, &heard).and_then(|()| plan.check(&heard));
        if let Err(wrong) = checked {
            panic!("MODEL_SEED={seed} MODEL_ROUNDS=1: {wrong}\n{:?}", Told(&plan, &heard));
        }
        whole += u64::from(plan.is_calm);
    }
    assert!(rounds < 100 || whole > rounds / 4, "hardly an exchange of {rounds} was whole: {whole}");
}

/// An exchange to be, and what has to come of it.
#[derive(Debug)]
struct Plan {
    client: Script,
    upstreams: Vec<Script>,
    /// How many requests have to be answered, and with how many interim answers each; where nobody breaks off, and nobody answers early.
    interim: Vec<usize>,
    is_calm: bool,
    expects: bool,
    /// What goes either way behind an upgrade.
    tunnel: Option<(&'static [u8], &'static [u8])>,
}

/// One request, and the answer that it gets.
struct Exchange {
    request: Vec<u8>,
    answer: Vec<u8>,
    early: bool,
    interim: usize,
    /// The client's connection ends with it, or the upstream's.
    ends: (bool, bool),
    upgrades: bool,
}

impl Plan {
    fn random(random: &mut Random) -> Self {
        let expects = random.one_in(12);
        let count = if expects { 1 } else { 1 + random.below(6) };
        let (mut client, mut upstreams) = (Script { cuts: random.cuts(), ..Script::default() }, Vec::<Script>::new());
        let (mut interim, mut ended, mut fresh, mut early, mut tunnel) = (Vec::new(), false, true, false, None);
        for number in 0..count {
            let exchange = Exchange::random(random, number, expects, number + 1 == count);
            if expects {
                let head = exchange.request.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
                client.gate = Gate::Continue(head);
            }
            client.stream.extend_from_slice(&exchange.request);
            if std::mem::take(&mut fresh) || upstreams.is_empty() {
                upstreams.push(Script { cuts: random.cuts(), gate: Gate::Requests(Vec::new()), then: Then::Ends, ..Script::default() });
            }
            let upstream = upstreams.last_mut().expect("one was pushed");
            upstream.stream.extend_from_slice(&exchange.answer);
            let end = upstream.stream.len();
            if let Gate::Requests(answers) = &mut upstream.gate {
                answers.push((end, exchange.early));
            }
            (fresh, early) = (exchange.ends.1, early | exchange.early);
            if !ended {
                interim.push(exchange.interim);
                tunnel = exchange.upgrades.then_some((PING, PONG));
            }
            ended |= exchange.ends.0;
        }
        // Who leaves a connection open may close it while it is idle; that is another story.
        for upstream in &mut upstreams {
            let ends = upstream.stream.windows(11).any(|words| words.starts_with(b"x-until: 1\r"));
            upstream.then = if ends || random.one_in(4) { Then::Ends } else { Then::Silence };
        }
        // A long stream in short pieces takes long, and shows nothing new.
        for script in upstreams.iter_mut().chain([&mut client]).filter(|script| script.stream.len() > 8000) {
            script.cuts.iter_mut().for_each(|cut| *cut *= 200);
        }
        client.then = if tunnel.is_none() && random.one_in(3) { Then::Ends } else { Then::Silence };
        let mut plan = Self { client, upstreams, interim, is_calm: !early, expects, tunnel };
        if random.one_in(2) {
            plan.roughen(random);
        }
        plan
    }

    /// Lets somebody break off somewhere.
    fn roughen(&mut self, random: &mut Random) {
        self.is_calm = false;
        let which = random.below(self.upstreams.len() + 1);
        let script = self.upstreams.get_mut(which).unwrap_or(&mut self.client);
        script.then = if random.one_in(2) { Then::Breaks } else { Then::Ends };
        if random.one_in(4) && script.gate != Gate::Open {
            script.gate = Gate::Told;
        }
        if random.one_in(3) {
            script.takes = Some(random.below(400));
        } else {
            script.stream.truncate(random.below(script.stream.len() + 1));
        }
    }

    /// Where nobody breaks off, every request arrives, and every answer.
    fn check(&self, heard: &Heard) -> Result<(), String> {
        if !self.is_calm {
            return Ok(());
        }
        if heard.requests.len() != self.interim.len() {
            return Err(format!("{} requests were served, where it should have been {}", heard.requests.len(), self.interim.len()));
        }
        let heads: Vec<_> = heard.requests.iter().map(|request| request.0 == "HEAD").collect();
        let (answers, _) = reference::answers(&heard.client, &heads, true);
        if answers.len() != heads.len() {
            return Err(format!("{} answers came to {} requests", answers.len(), heads.len()));
        }
        for (at, (answer, interim)) in answers.iter().enumerate() {
            if !matches!(answer.body, Body::Whole(..)) || ["502", "503"].contains(&answer.line[1].as_str()) {
                return Err(format!("answer {at} is not whole: {answer:?}"));
            }
            if !self.expects && *interim != self.interim[at] {
                return Err(format!("{interim} interim answers came before answer {at}, where it should have been {}", self.interim[at]));
            }
        }
        let sent = heard.upstreams.iter().flat_map(|told| reference::requests(told).0);
        let whole = sent.filter(|request| request.number("x-number").is_some() && matches!(request.body, Body::Whole(..))).count();
        if whole != heads.len() {
            return Err(format!("{whole} of {} requests reached an upstream whole", heads.len()));
        }
        let Some((ping, pong)) = self.tunnel else { return Ok(()) };
        let told = heard.upstreams.last().is_some_and(|told| told.ends_with(ping));
        if told && heard.client.ends_with(pong) { Ok(()) } else { Err("the tunnel lost something".to_owned()) }
    }
}

impl Exchange {
    fn random(random: &mut Random, number: usize, expects: bool, is_last: bool) -> Self {
        let is_old = random.one_in(8) && !expects;
        let keeps = !random.one_in(10);
        let upgrades = is_last && !is_old && !expects && random.one_in(6);
        let method = if expects {
            "POST"
        } else if upgrades {
            "GET"
        } else {
            random.of(&["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
        };
        let version = if is_old { "1.0" } else { "1.1" };
        let empty = if random.one_in(10) { "\r\n" } else { "" };
        let mut request = format!("{empty}{method} /{number}?q={} HTTP/{version}\r\nHost: a.test\r\n", random.below(1000)).into_bytes();
        let connection = match (upgrades, is_old, keeps) {
            (true, ..) => "Connection: upgrade\r\nUpgrade: websocket\r\n",
            (_, true, true) => "Connection: Keep-Alive\r\n",
            (_, false, false) => "Connection: x, Close\r\n",
            _ => "",
        };
        request.extend_from_slice(connection.as_bytes());
        if expects {
            request.extend_from_slice(b"Expect: 100-Continue\r\n");
        }
        let has_body = expects || (!upgrades && !["GET", "HEAD"].contains(&method) && random.one_in(2));
        // RFC 9112, 6.1: HTTP/1.0 knows no chunks.
        request.extend_from_slice(&if has_body { random.body(!is_old) } else { b"\r\n".to_vec() });

        let hints = if random.one_in(5) { 1 + random.below(3) } else { 0 };
        let mut answer = Vec::new();
        for _ in 0..hints {
            answer.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        }
        if random.one_in(8) {
            answer.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let mut exchange = Self {
            request,
            answer,
            early: has_body && random.one_in(10),
            interim: if is_old { 0 } else { hints },
            ends: (!keeps && !upgrades, false),
            upgrades,
        };
        if upgrades {
            exchange.request.extend_from_slice(PING);
            exchange.answer.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            exchange.answer.extend_from_slice(PONG);
            exchange.ends = (true, true);
        } else {
            exchange.answer(random, method == "HEAD", is_old);
        }
        exchange
    }

    fn answer(&mut self, random: &mut Random, is_head: bool, is_old: bool) {
        let status = random.of(&["200 OK", "200", "204 No Content", "304 Not Modified", "404 Not Found", "500 Odd"]);
        let bodiless = is_head || status.starts_with("204") || status.starts_with("304");
        let until = !bodiless && random.one_in(8);
        let version = if random.one_in(6) { "1.0" } else { "1.1" };
        let closes = random.one_in(8);
        self.answer.extend_from_slice(format!("HTTP/{version} {status}\r\nX-Reply: y\r\n").as_bytes());
        if closes {
            self.answer.extend_from_slice(b"Connection: close\r\n");
        } else if version == "1.0" {
            self.answer.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        let is_chunked = if until {
            self.answer.extend_from_slice(b"x-until: 1\r\n\r\nuntil the end");
            false
        } else if bodiless {
            let length = if status.starts_with("204") || random.one_in(2) { "" } else { "Content-Length: 7\r\n" };
            self.answer.extend_from_slice(format!("{length}\r\n").as_bytes());
            false
        } else {
            let body = random.body(version == "1.1");
            self.answer.extend_from_slice(&body);
            body.starts_with(b"Transfer")
        };
        self.ends.1 = closes || until;
        // RFC 9112, 6.1: to HTTP/1.0 the end of what has no length is the connection's.
        self.ends.0 |= is_old && (until || is_chunked);
    }
}

/// SplitMix64: the same numbers for the same seed everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.below(choices.len())]
    }

    fn cuts(&mut self) -> Vec<usize> {
        let count = self.below(4);
        (0..count).map(|_| 1 + self.below(40)).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = if self.one_in(40) { 20_000 + self.below(150_000) } else { self.below(80) };
        // What is no text, and what looks like a message.
        let pattern = *[&b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"0\r\n\r\n", b"\0\xff\r\n", b"text "]
            .get(self.below(4))
            .unwrap_or(&&b"x"[..]);
        pattern.iter().copied().cycle().take(length).collect()
    }

    /// The rest of a head, and a body.
    fn body(&mut self, chunks: bool) -> Vec<u8> {
        if !chunks || self.one_in(2) {
            let body = self.bytes();
            return [format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
        }
        let mut out = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..self.below(4) {
            let chunk = self.bytes();
            if chunk.is_empty() {
                continue;
            }
            let extension = self.of(&["", "", ";x", ";x=\"y z\"", "; a"]);
            let padding = self.of(&["", "", "00"]);
            out.extend_from_slice(format!("{padding}{:X}{extension}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(&chunk);
            out.extend_from_slice(b"\r\n");
        }
        let trailers = self.of(&["", "", "X-T: 1\r\n", "X-T: 1\r\nX-U:\r\n"]);
        out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        out
    }
}

/// What was said, to be read by people.
struct Told<'a>(&'a Plan, &'a Heard);

impl std::fmt::Debug for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(plan, heard) = self;
        writeln!(f, "interim {:?}, calm {}, {:?} {}", plan.interim, plan.is_calm, heard.requests, heard.end)?;
        let sides = std::iter::once((&plan.client, &heard.client)).chain(plan.upstreams.iter().zip(&heard.upstreams));
        for (number, (script, told)) in sides.enumerate() {
            let Script { stream, cuts, then, takes, gate } = script;
            let text = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(1200)])).replace("\\r\\n", "\n");
            let who = if number == 0 { "client".to_owned() } else { format!("upstream {number}") };
            writeln!(f, "--- the {who} says (in {cuts:?}, then {then:?}, takes {takes:?}, {gate:?})\n{}", text(stream))?;
            writeln!(f, "--- and is told\n{}", text(told))?;
        }
        Ok(())
    }
}

const PING: &[u8] = b"GET /ping HTTP/1.1\r\n\r\n ping";
const PONG: &[u8] = b"HTTP/1.1 200 OK\r\n\r\npong";
