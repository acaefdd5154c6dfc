//! What the domain's errors become for a client: one place, so that a new variant is looked at here.

use std::time::Duration;

use domain::accounts::{
    BlockError, ConfirmError, EmailError, GuardedError, OperatorError, PasswordError, RegisterError,
    RenameError, UsernameError, VerifyError,
};
use domain::db::DbError;
use domain::factors::{self, FactorError};
use domain::identities::{IdentityError, UnlinkError};
use domain::moderation::{DomainError, ModerationError};
use domain::pages::{
    CreateError, EditError, LinkUrlError, ProfileError, ReorderError, SocialError, TextError,
};
use domain::recovery::ResetError;
use domain::referrals::{MalformedCode, RulingError};
use domain::rewards::{AdjustError, CouponError, MalformedAmount, RedeemError, ReplaceError, RuleError};
use domain::sessions::{RefreshError, StartError};
use domain::webhooks::{EndpointError, EndpointUrlError};

use super::{Code, FieldCode, Problem};
use crate::body::Complaint;
use crate::import::SourceError;
use crate::pictures::PictureError;

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        if error.is_transient() {
            Self::unavailable(error).retry_after(Duration::from_secs(1))
        } else {
            Self::internal(error)
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::EmailTaken => Self::new(Code::EmailTaken),
            RegisterError::UsernameTaken => Self::new(Code::UsernameTaken),
            RegisterError::UnknownReferralCode => {
                Self::field("/referral_code", FieldCode::InvalidReferralCode)
            }
            RegisterError::KeyReused => Self::new(Code::IdempotencyKeyReused),
            RegisterError::Db(error) => error.into(),
        }
    }
}

impl From<RenameError> for Problem {
    fn from(error: RenameError) -> Self {
        match error {
            RenameError::UsernameTaken => Self::new(Code::UsernameTaken),
            RenameError::TooOften { changes, wait } => {
                let detail =
                    format!("A username can be changed {changes}. Choose later, or keep the one you have.");
                let wait = wait.to_std().unwrap_or_default();
                Self::new(Code::RateLimited).detail(detail).retry_after(wait)
            }
            // The password that was checked is not the account's any more.
            RenameError::Overtaken => Self::new(Code::InvalidCredentials),
            RenameError::Db(error) => error.into(),
        }
    }
}

impl From<GuardedError> for Problem {
    fn from(error: GuardedError) -> Self {
        match error {
            // The password that was checked is not the account's any more.
            GuardedError::Overtaken => Self::new(Code::InvalidCredentials),
            GuardedError::Db(error) => error.into(),
        }
    }
}

impl From<RulingError> for Problem {
    fn from(error: RulingError) -> Self {
        match error {
            RulingError::NoSuchReferral => Self::new(Code::NotFound),
            RulingError::Conflict(_) => Self::new(Code::ConflictingState).detail(sentence(&error)),
            RulingError::Db(error) => error.into(),
        }
    }
}

impl From<BlockError> for Problem {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::NoSuchAccount => Self::new(Code::NotFound),
            BlockError::OwnAccount => Self::new(Code::Forbidden).detail(sentence(&error)),
            BlockError::Db(error) => error.into(),
        }
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::NoSuchAccount => Self::new(Code::NotFound),
            OperatorError::OwnAccount | OperatorError::ManagersAccount | OperatorError::NoLongerManager => {
                Self::new(Code::Forbidden).detail(sentence(&error))
            }
            OperatorError::EmailTaken => Self::new(Code::EmailTaken),
            OperatorError::Db(error) => error.into(),
        }
    }
}

impl From<ModerationError> for Problem {
    fn from(error: ModerationError) -> Self {
        match error {
            ModerationError::NotFound => Self::new(Code::NotFound),
            ModerationError::Db(error) => error.into(),
        }
    }
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::NotFound => Self::new(Code::NotFound),
            EndpointError::TooMany | EndpointError::Disabled => {
                Self::new(Code::ConflictingState).detail(sentence(&error))
            }
            EndpointError::Sealed(error) => Self::internal(error),
            EndpointError::Db(error) => error.into(),
        }
    }
}

impl From<EndpointUrlError> for Complaint {
    fn from(error: EndpointUrlError) -> Self {
        Self::new(FieldCode::InvalidUrl, sentence(&error))
    }
}

impl From<AdjustError> for Problem {
    fn from(error: AdjustError) -> Self {
        match error {
            AdjustError::NoSuchAccount => Self::new(Code::NotFound),
            AdjustError::Nothing => Self::field("/amount", FieldCode::InvalidValue),
            AdjustError::Insufficient(_) => Self::new(Code::InsufficientCredits).detail(sentence(&error)),
            AdjustError::KeyReused => Self::new(Code::IdempotencyKeyReused),
            AdjustError::Db(error) => error.into(),
        }
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Overtaken => Self::new(Code::InvalidCredentials),
            StartError::Db(error) => error.into(),
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Refused => Self::new(Code::ProviderRefused).because(error),
            IdentityError::EmailTaken => Self::new(Code::EmailTaken).detail(
                "There is an account with this e-mail address. Log in to it, confirm the address, and link the provider there.",
            ),
            IdentityError::EmailMissing => Self::new(Code::EmailMissing),
            IdentityError::UsernameTaken => Self::new(Code::UsernameTaken),
            IdentityError::Taken => Self::new(Code::IdentityTaken),
            IdentityError::Db(error) => error.into(),
        }
    }
}

impl From<UnlinkError> for Problem {
    fn from(error: UnlinkError) -> Self {
        match error {
            UnlinkError::NoSuchIdentity => Self::new(Code::NotFound),
            UnlinkError::LastWayIn => Self::new(Code::LastWayIn),
            UnlinkError::Db(error) => error.into(),
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::InvalidToken | RefreshError::Reused { .. } => Self::unauthenticated(),
            RefreshError::Db(error) => error.into(),
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::InvalidToken => Self::new(Code::InvalidToken),
            VerifyError::Db(error) => error.into(),
        }
    }
}

impl From<ConfirmError> for Problem {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::InvalidToken => Self::new(Code::InvalidToken),
            ConfirmError::UsernameTaken => Self::new(Code::UsernameTaken),
            ConfirmError::Db(error) => error.into(),
        }
    }
}

impl From<ResetError> for Problem {
    fn from(error: ResetError) -> Self {
        match error {
            ResetError::InvalidToken => Self::new(Code::InvalidToken),
            ResetError::Db(error) => error.into(),
        }
    }
}

impl From<FactorError> for Problem {
    fn from(error: FactorError) -> Self {
        match error {
            FactorError::NotEnrolled => Self::new(Code::NotFound),
            FactorError::AlreadyEnrolled => Self::new(Code::FactorExists),
            FactorError::WrongCode => Self::new(Code::InvalidCode),
            // Whoever was checked has to be checked again.
            FactorError::Overtaken => Self::new(Code::InvalidCredentials),
            FactorError::Sealed(error) => Self::internal(error),
            FactorError::Db(error) => error.into(),
        }
    }
}

impl From<RedeemError> for Problem {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::NoSuchAccount => Self::unauthenticated(),
            RedeemError::UnknownOption => Self::field("/option", FieldCode::InvalidValue),
            RedeemError::Insufficient(balance) => {
                Self::new(Code::InsufficientCredits).member("balance", balance.to_string().into())
            }
            RedeemError::KeyReused => Self::new(Code::IdempotencyKeyReused),
            RedeemError::Db(error) => error.into(),
        }
    }
}

impl From<CouponError> for Problem {
    fn from(error: CouponError) -> Self {
        match error {
            CouponError::Unknown => Self::new(Code::NotFound),
            CouponError::Unavailable => Self::new(Code::DiscountUnavailable),
            CouponError::Db(error) => error.into(),
        }
    }
}

impl From<ReplaceError> for Problem {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::Overtaken => Self::new(Code::VersionConflict),
            // The handler checked them, to say which.
            ReplaceError::Invalid => Self::new(Code::Validation),
            ReplaceError::Db(error) => error.into(),
        }
    }
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::NoSuchAccount => Self::unauthenticated(),
            ProfileError::BlockedDomains(places) => {
                let of = |place| Complaint::from(FieldCode::BlockedDomain).at(format!("/social/{place}/url"));
                Self::validation(places.into_iter().map(of).collect())
            }
            ProfileError::Db(error) => error.into(),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::NoSuchAccount => Self::unauthenticated(),
            CreateError::LimitReached(limit) => Self::new(Code::LinkLimit).member("limit", limit.into()),
            CreateError::BlockedDomain => Self::field("/url", FieldCode::BlockedDomain),
            CreateError::KeyReused => Self::new(Code::IdempotencyKeyReused),
            CreateError::Db(error) => error.into(),
        }
    }
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NoSuchLink => Self::new(Code::NotFound),
            EditError::HeaderWithUrl => {
                Self::of_field("/url", Complaint::new(FieldCode::InvalidValue, sentence(&error)))
            }
            EditError::BlockedDomain => Self::field("/url", FieldCode::BlockedDomain),
            EditError::EmptyWindow => {
                Self::of_field("/visible_until", Complaint::new(FieldCode::InvalidValue, sentence(&error)))
            }
            EditError::Db(error) => error.into(),
        }
    }
}

impl From<ReorderError> for Problem {
    fn from(error: ReorderError) -> Self {
        match error {
            ReorderError::NotTheLinks => {
                Self::of_field("/ids", Complaint::new(FieldCode::InvalidValue, sentence(&error)))
            }
            ReorderError::Db(error) => error.into(),
        }
    }
}

impl From<PictureError> for Problem {
    fn from(error: PictureError) -> Self {
        match error {
            PictureError::TooLarge => Self::new(Code::PayloadTooLarge),
            // The media type was right, or it would not have been read: what came under it is not.
            PictureError::Unsupported | PictureError::TooManyPixels | PictureError::Damaged => {
                Self::of_field("", Complaint::new(FieldCode::InvalidValue, sentence(&error)))
            }
        }
    }
}

/// An error's words as a sentence.
fn sentence(error: &impl std::error::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

impl From<EmailError> for Complaint {
    fn from(error: EmailError) -> Self {
        let code = match error {
            EmailError::TooLong => FieldCode::TooLong,
            EmailError::Malformed
            | EmailError::Decorated
            | EmailError::Several
            | EmailError::BadLocal
            | EmailError::BadDomain => FieldCode::InvalidEmail,
        };
        Self::new(code, sentence(&error))
    }
}

impl From<UsernameError> for Complaint {
    fn from(error: UsernameError) -> Self {
        let code = match error {
            UsernameError::TooShort => FieldCode::TooShort,
            UsernameError::TooLong => FieldCode::TooLong,
            UsernameError::Malformed
            | UsernameError::BadStart
            | UsernameError::BadEnd
            | UsernameError::DoubleSeparator => FieldCode::InvalidUsername,
            UsernameError::Reserved => FieldCode::UsernameReserved,
        };
        Self::new(code, sentence(&error))
    }
}

impl From<PasswordError> for Complaint {
    fn from(error: PasswordError) -> Self {
        let code = match error {
            PasswordError::TooShort(_) => FieldCode::TooShort,
            PasswordError::TooLong => FieldCode::TooLong,
            PasswordError::ControlCharacter => FieldCode::InvalidCharacter,
            PasswordError::Weak => FieldCode::WeakPassword,
        };
        Self::new(code, sentence(&error))
    }
}

impl From<SourceError> for Complaint {
    fn from(error: SourceError) -> Self {
        let code = match error {
            SourceError::WrongFormat => FieldCode::InvalidValue,
            SourceError::TooMany => FieldCode::TooLong,
        };
        Self::new(code, sentence(&error))
    }
}

impl From<DomainError> for Complaint {
    fn from(error: DomainError) -> Self {
        Self::new(FieldCode::InvalidValue, sentence(&error))
    }
}

impl From<TextError> for Complaint {
    fn from(error: TextError) -> Self {
        let code = match error {
            TextError::Empty => FieldCode::Empty,
            TextError::TooLong(_) => FieldCode::TooLong,
            TextError::InvisibleCharacter => FieldCode::InvalidCharacter,
        };
        Self::new(code, sentence(&error))
    }
}

impl From<LinkUrlError> for Complaint {
    fn from(error: LinkUrlError) -> Self {
        let code = match error {
            LinkUrlError::TooLong => FieldCode::TooLong,
            LinkUrlError::InvisibleCharacter => FieldCode::InvalidCharacter,
            LinkUrlError::Scheme | LinkUrlError::UserInfo | LinkUrlError::Malformed => FieldCode::InvalidUrl,
        };
        Self::new(code, sentence(&error))
    }
}

impl From<SocialError> for Complaint {
    fn from(error: SocialError) -> Self {
        match error {
            SocialError::Url(error) => error.into(),
            SocialError::OtherHost => Self::new(FieldCode::InvalidUrl, sentence(&error)),
        }
    }
}

impl From<MalformedAmount> for Complaint {
    fn from(error: MalformedAmount) -> Self {
        Self::new(FieldCode::InvalidValue, sentence(&error))
    }
}

impl From<RuleError> for Complaint {
    fn from(error: RuleError) -> Self {
        let code = match error {
            RuleError::Duplicate => FieldCode::DuplicateField,
            RuleError::TooMany => FieldCode::TooLong,
            _ => FieldCode::InvalidValue,
        };
        Self::new(code, sentence(&error))
    }
}

impl From<MalformedCode> for Complaint {
    fn from(_: MalformedCode) -> Self {
        FieldCode::InvalidReferralCode.into()
    }
}

impl From<factors::MalformedCode> for Complaint {
    fn from(error: factors::MalformedCode) -> Self {
        Self::new(FieldCode::InvalidValue, sentence(&error))
    }
}
