//! What holds of every exchange, whatever either side says: no request reaches an upstream that the plain reading of the client's
//! stream does not have, no body belongs to another message, and nobody hears another's answer.

use super::harness::{Heard, Script, Then};
use super::reference::{self, Body, Message, Rest};

/// Checks one exchange; says what is wrong with it.
pub fn check(client: &Script, upstreams: &[Script], heard: &Heard) -> Result<(), String> {
    let (asked, _) = reference::requests(&client.stream);
    if heard.requests.len() > asked.len() {
        return Err(format!("{} requests were served, where {} were sent", heard.requests.len(), asked.len()));
    }
    let mut answered = Vec::new();
    for (number, told) in heard.upstreams.iter().enumerate() {
        // Behind a request that opened a tunnel comes what is no HTTP.
        let is_switch = |words: &[u8]| words.ends_with(b" 101 ") || words.ends_with(b" 101\r");
        let switches = upstreams[number].stream.windows(13).any(is_switch);
        let sent = sent(&asked, told, heard, (number, switches))?;
        let heads: Vec<_> = sent.iter().map(|number| asked[*number].line[0] == "HEAD").collect();
        let ended = upstreams[number].then == Then::Ends;
        let (answers, _) = reference::answers(&upstreams[number].stream, &heads, ended);
        answered.extend(sent.into_iter().zip(answers.into_iter().map(|(answer, _)| answer)));
    }
    if client.takes.is_none() { hear(&asked, &answered, heard) } else { Ok(()) }
}

/// Holds what one upstream was told against what was sent; returns which requests it was told.
fn sent(asked: &[Message], told: &[u8], heard: &Heard, (connection, switches): (usize, bool)) -> Result<Vec<usize>, String> {
    let (requests, rest) = reference::requests(told);
    let mut sent = Vec::new();
    for request in &requests {
        let number = request.number("x-number").ok_or("an upstream was told what nobody asked")?;
        if sent.last().is_some_and(|last| *last >= number) || heard.requests.get(number).is_none_or(|of| of.2 != Some(connection)) {
            return Err(format!("request {number} came to connection {connection} out of turn"));
        }
        let original = &asked[number];
        let same_line = request.line[0] == original.line[0] && request.line[1] == origin_form(&original.line[1]);
        if !same_line {
            return Err(format!("{:?} was sent on as {:?}", original.line, request.line));
        }
        match (&request.body, &original.body) {
            (Body::Whole(data, trailers), Body::Whole(expected, expected_trailers)) if data == expected => {
                if !trailers.is_empty() && by_name(trailers) != by_name(expected_trailers) {
                    return Err(format!("request {number} has trailers of its own: {trailers:?}"));
                }
            }
            (Body::Short, _) => {}
            (found, expected) => return Err(format!("the body of request {number} was {} and came as {}", shown(expected), shown(found))),
        }
        sent.push(number);
        if original.field("upgrade").is_some() && switches {
            return Ok(sent);
        }
    }
    if rest == Rest::Malformed {
        return Err(format!("an upstream was told what is no request: {:?}", String::from_utf8_lossy(told)));
    }
    Ok(sent)
}

/// Holds what the client heard against what upstreams said.
fn hear(asked: &[Message], answered: &[(usize, Message)], heard: &Heard) -> Result<(), String> {
    let heads: Vec<_> = asked.iter().map(|request| request.line[0] == "HEAD").chain([false]).collect();
    let (answers, rest) = reference::answers(&heard.client, &heads, heard.goodbye);
    let said = || String::from_utf8_lossy(&heard.client).into_owned();
    let switched = answers.last().is_some_and(|(answer, _)| answer.line[1] == "101");
    if rest == Rest::Malformed && !switched {
        return Err(format!("the client heard what is no answer: {:?}", said()));
    }
    for (at, (answer, interim)) in answers.iter().enumerate() {
        let Some(number) = answer.number("x-number") else {
            // Our own refusal of what never became a request: the last thing said.
            let is_last = at + 1 == answers.len() && answer.line[1] == "400" && *interim == 0;
            if is_last { continue } else { return Err(format!("an answer from nobody: {answer:?}")) }
        };
        if number != at {
            return Err(format!("the answer to request {number} came as number {at}"));
        }
        if *interim > 0 && asked[number].line[2] == "HTTP/1.0" {
            return Err(format!("HTTP/1.0 heard {interim} interim answers"));
        }
        let Some((_, original)) =
            answered.iter().find(|(of, _)| *of == number).filter(|_| answer.line[1] != "502" && answer.line[1] != "503")
        else {
            continue;
        };
        let same_status = original.line[1] == answer.line[1];
        let same_body = match (&answer.body, &original.body) {
            (Body::Whole(found, _), Body::Whole(expected, _)) => found == expected,
            (Body::Whole(found, _), Body::Short | Body::Malformed) => {
                return Err(format!("the answer to request {number} broke off and came as a whole of {} bytes", found.len()));
            }
            (Body::Short, _) => true,
            (Body::Malformed, _) => false,
        };
        if !same_status || !same_body {
            return Err(format!(
                "the answer to request {number} was {:?} with {} and came as {:?} with {}",
                original.line,
                shown(&original.body),
                answer.line,
                shown(&answer.body)
            ));
        }
    }
    Ok(())
}

/// RFC 9110, 5.3: among fields of other names no order counts.
fn by_name(fields: &[(String, Vec<u8>)]) -> Vec<&(String, Vec<u8>)> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

fn origin_form(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else { return target };
    rest.find(['/', '?']).map_or("/", |at| &rest[at..])
}

fn shown(body: &Body) -> String {
    match body {
        Body::Malformed => "malformed".to_owned(),
        Body::Short => "short".to_owned(),
        Body::Whole(data, trailers) => {
            format!("{} bytes, {:?} and {} trailers", data.len(), String::from_utf8_lossy(&data[..data.len().min(40)]), trailers.len())
        }
    }
}
