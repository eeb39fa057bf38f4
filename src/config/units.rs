//! What single units hold, parsed: pins, trust anchors, our own certificates with their keys. Takes what was read, never a path.

use std::sync::Arc;

use crate::admission::{Authority, Bounds, Pin};
use crate::clock;
use crate::pki::{Certificate, FileError, files};
use crate::store::cache::Parsed;
use crate::store::{Reading, listing};
use crate::tls::KeyPair;

/// Certificates that are pins.
#[derive(Debug)]
pub(super) struct PinFile {
    pub(super) pins: Vec<(Pin, u32)>,
    /// The whole of them, where that is wanted.
    pub(super) certificates: Vec<Arc<Certificate>>,
    pub(super) warnings: Vec<(u32, String)>,
    pub(super) ends: Option<u64>,
}

/// Certificates, and the lines they stand in.
pub(super) type Bundle = Vec<(Arc<Certificate>, u32)>;

/// A certificate of ours with its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) pair: KeyPair,
    /// Others than its owner may read the key.
    pub(super) exposed: bool,
}

/// Reads certificates that are pins. One that cannot be a pin refuses the file, by its line.
pub(super) fn read_pins(readings: &[Reading], allow_any_eku: bool, whole: bool) -> Parsed<PinFile> {
    let password = password(readings.get(1)).map_err(|error| (1, error))?;
    let mut file = PinFile { pins: Vec::new(), certificates: Vec::new(), warnings: Vec::new(), ends: None };
    for found in files::members(&readings[0].bytes, Some(&password)).map_err(|error| (0, error))? {
        if let Some(why) = Pin::unsuitable(&found.value, allow_any_eku) {
            return Err((0, FileError { line: found.line, why: format!("this certificate cannot be a pin: {why}") }));
        }
        file.warnings.extend(listing::validity(&found.value, clock::wall()).map(|why| (found.line, why)));
        file.ends = file.ends.into_iter().chain([found.value.not_after]).min();
        file.pins.push((Pin::from(&found.value), found.line));
        file.certificates.extend(whole.then(|| Arc::new(found.value)));
    }
    Ok(file)
}

/// Reads trust anchors. What can never be one refuses the file, by its line; so does a file of which nothing is valid
/// now: the last good one stays. One that is out of time beside a good one does not, and admits nobody meanwhile.
pub(super) fn read_bundle(readings: &[Reading]) -> Parsed<Bundle> {
    let found = files::certificates(&readings[0].bytes, None).map_err(|error| (0, error))?;
    let bundle: Bundle = found.into_iter().map(|located| (Arc::new(located.value), located.line)).collect();
    let certificates = bundle.iter().map(|(certificate, _)| Arc::clone(certificate)).collect();
    let authority = Authority { certificates, bounds: Bounds::default(), priority: 0, require_client_eku: true };
    let problems = authority.problems(super::gather::now(), 0);
    let all = problems.len() == bundle.len();
    let refused = problems.iter().find(|problem| !problem.kind.is_of_time()).or_else(|| problems.first().filter(|_| all));
    let Some(problem) = refused else { return Ok(bundle) };
    let line = bundle.get(problem.index).map_or(0, |(_, line)| *line);
    Err((0, FileError { line, why: format!("this certificate {}: it is no trust anchor", problem.kind.describe()) }))
}

/// Reads a certificate of ours with its key; `is_pfx`: both from one file.
pub(super) fn read_pair(readings: &[Reading], is_pfx: bool) -> Parsed<Pair> {
    let wrong = |why: String| (0, FileError { line: 0, why });
    if is_pfx {
        let password = password(readings.get(1)).map_err(|error| (1, error))?;
        let (chain, key) = files::pfx(&readings[0].bytes, &password).map_err(|error| (0, error))?;
        let pair = KeyPair::new(&chain, key).map_err(|why| wrong(why.to_string()))?;
        return Ok(Pair { pair, exposed: readings[0].exposed });
    }
    let chain = files::chain(&readings[0].bytes, None).map_err(|error| (0, error))?;
    let password = readings.get(2).map(|reading| password(Some(reading))).transpose().map_err(|error| (2, error))?;
    let key = files::private_key(&readings[1].bytes, password.as_deref()).map_err(|error| (1, error))?;
    let chain: Vec<Certificate> = chain.into_iter().map(|located| located.value).collect();
    let pair = KeyPair::new(&chain, key).map_err(|why| wrong(why.to_string()))?;
    Ok(Pair { pair, exposed: readings[1].exposed })
}

/// A password is the first line of its file.
fn password(reading: Option<&Reading>) -> Result<String, FileError> {
    let Some(reading) = reading else { return Ok(String::new()) };
    let text = std::str::from_utf8(&reading.bytes).map_err(|_| FileError { line: 1, why: "the password is not UTF-8".to_owned() })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
