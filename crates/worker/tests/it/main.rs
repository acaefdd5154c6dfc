//! The worker against real counterparts, one module a subject.

mod mailer;
