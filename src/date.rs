//! Seconds since the epoch as people read them, and back; durations too. It does not ask the time: `clock` does.

use std::time::Duration;

/// A second of the calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
}

impl Date {
    /// Returns the date of a time in seconds since the epoch.
    pub fn of(seconds: u64) -> Self {
        // Days since 1 March of year 0, so that the leap day ends a year (H. Hinnant, "chrono-compatible low-level date algorithms").
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    /// Returns the time in seconds since the epoch; `None` for what is no date, or lies before 1970.
    pub fn seconds(self) -> Option<u64> {
        let shifted = if self.month > 2 { self.month - 3 } else { self.month.checked_add(9)? };
        let year = if self.month > 2 { self.year } else { self.year.checked_sub(1)? };
        let day_of_year = (153 * shifted + 2) / 5 + self.day.checked_sub(1)?;
        let (era, year_of_era) = (year / 400, year % 400);
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let seconds = days.checked_sub(719_468)? * 86_400 + self.hour * 3_600 + self.minute * 60 + self.second;
        // 30 February and 24:61 come out as another date.
        (self.year < 10_000 && Self::of(seconds) == self).then_some(seconds)
    }
}

/// RFC 3339, in UTC.
impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Reads a time of RFC 3339, in seconds since the epoch; a fraction is below our grain, the offset is not optional.
pub fn rfc3339(text: &str) -> Option<u64> {
    let text = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
    };
    let separators = [(4, b"-" as &[u8]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")];
    if !separators.iter().all(|(at, allowed)| text.get(*at).is_some_and(|byte| allowed.contains(byte))) {
        return None;
    }
    let date = Date {
        year: number(0, 4)?,
        month: number(5, 7)?,
        day: number(8, 10)?,
        hour: number(11, 13)?,
        minute: number(14, 16)?,
        second: number(17, 19)?,
    };
    let local = date.seconds()?;
    // RFC 3339, 5.6: the fraction is below our grain, the offset is not optional.
    let rest = match text.get(19) {
        Some(b'.') => 20 + text[20..].iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 19,
    };
    match text.get(rest)? {
        b'Z' | b'z' if text.len() == rest + 1 => Some(local),
        sign @ (b'+' | b'-') if text.len() == rest + 6 && text[rest + 3] == b':' => {
            let offset = number(rest + 1, rest + 3)? * 3_600 + number(rest + 4, rest + 6)? * 60;
            if *sign == b'+' { local.checked_sub(offset) } else { Some(local + offset) }
        }
        _ => None,
    }
}

/// Reads `10s`, `500ms`, `5m`, `2h`, `1d`; one number, one unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected =
        || format!("`{text}` is no duration: write a whole number and a unit, like \"500ms\", \"10s\", \"5m\", \"2h\" or \"1d\"");
    let (number, unit) = split_unit(text).ok_or_else(expected)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    number.checked_mul(millis).filter(|millis| *millis <= LONGEST).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is too long"))
}

/// Writes a duration of whole seconds as [`duration`] reads it, in the largest unit that it is a multiple of.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (size, unit) =
        [(86_400, "d"), (3_600, "h"), (60, "m")].into_iter().find(|(size, _)| seconds.is_multiple_of(*size)).unwrap_or((1, "s"));
    format!("{}{unit}", seconds / size)
}

/// Takes a number and the unit behind it apart.
pub fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Ten years: a longer duration is a slip of the keyboard, and timers add to it.
const LONGEST: u64 = 10 * 366 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("2 h", 7_200_000), ("1d", 86_400_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "1w", "10s5", "99999999999999999999s", "400000d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["1s", "90s", "1m", "90m", "2h", "36h", "1d"] {
            assert_eq!(duration(text).map(duration_text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_216_330, "2026-11-20T23:12:10Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            let date = Date::of(seconds);
            assert_eq!(date.to_string(), text);
            assert_eq!(date.seconds(), Some(seconds));
        }
    }

    #[test]
    fn what_is_no_date_has_no_time() {
        let date = |year, month, day, hour| Date { year, month, day, hour, minute: 0, second: 0 }.seconds();
        for (year, month, day, hour) in
            [(2026, 2, 29, 0), (2026, 13, 1, 0), (2026, 0, 1, 0), (2026, 1, 0, 0), (2026, 1, 1, 24), (1969, 12, 31, 23)]
        {
            assert_eq!(date(year, month, day, hour), None, "{year}-{month}-{day} {hour}");
        }
    }
}
