//! An amount of something with two decimals: `NUMERIC(18, 2)` in the database, a string such as `"10.00"` in JSON,
//! hundredths in an integer here. Never a float.

use std::fmt;
use std::io::Write as _;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::data_types::PgNumeric;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Numeric;
use serde::{Serialize, Serializer};

/// PostgreSQL sends a NUMERIC as digits of base 10,000.
const BASE: i64 = 10_000;

/// Hundredths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Numeric)]
pub struct Amount(i64);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From hundredths.
    pub const fn from_hundredths(hundredths: i64) -> Self {
        Self(hundredths)
    }

    /// From a whole number.
    pub const fn from_whole(whole: i64) -> Self {
        Self(whole.saturating_mul(100))
    }

    /// The hundredths.
    pub const fn hundredths(self) -> i64 {
        self.0
    }

    /// The whole part, cut off towards zero.
    pub const fn whole(self) -> i64 {
        self.0 / 100
    }
}

/// What is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is digits with two decimals at most, such as 10.00")]
pub struct MalformedAmount;

impl FromStr for Amount {
    type Err = MalformedAmount;

    fn from_str(text: &str) -> Result<Self, MalformedAmount> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "00"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || whole.len() > 15 || fraction.len() > 2 {
            return Err(MalformedAmount);
        }
        let hundredths: i64 = format!("{whole}{fraction:0<2}").parse().map_err(|_| MalformedAmount)?;
        Ok(Self(sign * hundredths))
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Amount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Amount {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let hundredths = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl ToSql<Numeric, Pg> for Amount {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        // The text form of a value, in binary: weight counts the base-10,000 digits before the point, less one.
        let hundredths = self.0.unsigned_abs();
        let mut whole = hundredths / 100;
        let fraction = i16::try_from(hundredths % 100)?.checked_mul(100).ok_or("amount out of range")?;
        let mut digits = vec![fraction];
        while whole > 0 {
            digits.insert(0, i16::try_from(whole % 10_000)?);
            whole /= 10_000;
        }
        let sign: u16 = if self.0 < 0 { 0x4000 } else { 0 };
        let weight = i16::try_from(digits.len())?.checked_sub(2).ok_or("amount out of range")?;
        out.write_all(&u16::try_from(digits.len())?.to_be_bytes())?;
        out.write_all(&weight.to_be_bytes())?;
        out.write_all(&sign.to_be_bytes())?;
        out.write_all(&2_u16.to_be_bytes())?;
        for digit in digits {
            out.write_all(&digit.to_be_bytes())?;
        }
        Ok(serialize::IsNull::No)
    }
}

impl FromSql<Numeric, Pg> for Amount {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let (negative, weight, digits) = match PgNumeric::from_sql(value)? {
            PgNumeric::Positive { weight, digits, .. } => (false, weight, digits),
            PgNumeric::Negative { weight, digits, .. } => (true, weight, digits),
            PgNumeric::NaN => return Err("NaN is no amount".into()),
        };
        // In units of 1/10,000, so that the first digit after the point is whole too.
        let mut parts: i64 = 0;
        for position in (-1..=weight.max(-1)).rev() {
            let index = usize::try_from(weight - position)?;
            let digit = digits.get(index).copied().unwrap_or(0);
            parts = parts
                .checked_mul(BASE)
                .and_then(|sum| sum.checked_add(digit.into()))
                .ok_or("amount out of range")?;
        }
        if parts % 100 != 0 || digits.len() > usize::try_from(weight + 2)? {
            return Err("an amount has two decimals".into());
        }
        let hundredths = parts / 100;
        Ok(Self(if negative { -hundredths } else { hundredths }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, hundredths) in [
            ("25", 2_500),
            ("25.5", 2_550),
            ("25.05", 2_505),
            ("-2.50", -250),
            ("0", 0),
            ("999999999999999.99", 99_999_999_999_999_999),
        ] {
            assert_eq!(text.parse::<Amount>().unwrap().hundredths(), hundredths, "{text}");
        }
        for bad in ["", "-", ".5", "5.", "1.234", "+1", "1e3", " 1", "1,5", "1000000000000000", "--1", "٣"] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn text_form() {
        for (hundredths, text) in [(0, "0.00"), (1_000, "10.00"), (5, "0.05"), (-250, "-2.50"), (-5, "-0.05")]
        {
            assert_eq!(Amount::from_hundredths(hundredths).to_string(), text);
        }
        assert_eq!(serde_json::to_string(&Amount::from_whole(10)).unwrap(), "\"10.00\"");
    }
}
