//! Small notations inside values: durations, sizes, times, CIDRs, names. Each says what it expected.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use toml::value::{Datetime, Offset};

pub use crate::admission::conditions::network;
pub use crate::date::duration;
use crate::date::split_unit;
use crate::listener::BindAddress;

/// Reads `65536`, `64KiB`, `10MiB`, `1GiB`, and the decimal `64kB`, `10MB`, `1GB`.
pub fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("`{text}` is no size: write a whole number and a unit, like \"64KiB\", \"10MiB\" or \"1GB\"");
    let (number, unit) = split_unit(text).ok_or_else(expected)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(expected()),
    };
    number.checked_mul(bytes).ok_or_else(|| format!("`{text}` is too large"))
}

/// Reads a TOML date and time; an offset is required, so that nobody has to guess whose midnight was meant.
pub fn time(datetime: &Datetime) -> Result<UnixTime, String> {
    let missing = |what| format!("`{datetime}` has no {what}: write it like 2027-01-31T00:00:00Z");
    let date = datetime.date.ok_or_else(|| missing("date"))?;
    let time = datetime.time.ok_or_else(|| missing("time of day"))?;
    let offset = match datetime.offset.ok_or_else(|| missing("offset"))? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    let seconds = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    let at = days_since_epoch(date.year, date.month, date.day) * 86_400 + seconds - offset;
    let at = u64::try_from(at).map_err(|_| format!("`{datetime}` lies before 1970"))?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(at)))
}

/// Reads where to listen: `IP:PORT`, `unix:PATH`, `systemd:NAME`.
pub fn address(text: &str) -> Result<BindAddress, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no address: write it like \"0.0.0.0:8443\", \"[::]:8443\", \"unix:PATH\" or \"systemd:NAME\""))
}

/// Reads the name of a listener, route or upstream: it stands in logs, labels and permissions.
pub fn plain_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no name: 1 to 64 of A-Z a-z 0-9 . _ -"))
    }
}

/// Reads what is not empty and holds no control characters: paths and free text.
pub fn printable(text: &str) -> Result<String, String> {
    match text {
        "" => Err("may not be empty".to_owned()),
        text if text.chars().any(char::is_control) => Err("holds a control character".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Days from civil (Howard Hinnant): exact for the proleptic Gregorian calendar.
fn days_since_epoch(year: u16, month: u8, day: u8) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = (i64::from(month) + 9) % 12;
    let of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("0", 0), ("64KiB", 65_536), ("10 MiB", 10 << 20), ("1GB", 1_000_000_000), ("5kB", 5000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "KiB", "1Kib", "-1", "1.5MiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_need_an_offset() {
        let cases = [
            ("2027-01-31T00:00:00Z", Some(1_801_353_600)),
            ("2027-01-31T02:00:00+02:00", Some(1_801_353_600)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00-01:30", Some(951_831_000)),
            ("2027-01-31T00:00:00", None),
            ("2027-01-31", None),
            ("00:00:00", None),
            ("1969-12-31T23:59:59Z", None),
        ];
        for (text, wanted) in cases {
            let datetime: Datetime = text.parse().expect("TOML's own");
            assert_eq!(time(&datetime).ok().map(|at| at.as_secs()), wanted, "{text}");
        }
    }

    #[test]
    fn networks_say_one_thing() {
        for text in ["192.0.2.0/24", "10.20.0.5/32", "2001:db8::/32", "::1", "127.0.0.1", "0.0.0.0/0"] {
            assert!(network(text).is_ok(), "{text}");
        }
        for text in ["192.0.2.1/24", "192.0.2.0/33", "", "localhost", "192.0.2.0/24 "] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
