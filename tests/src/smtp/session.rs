//! One client's conversation with a sink.

use std::sync::Arc;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::script::{Fault, Step};
use super::{Line, Mail, Shared, Tls};

/// A stream with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// More than any test sends.
const LONGEST_MAIL: usize = 1024 * 1024;

pub(super) struct Session {
    stream: BufReader<Box<dyn Stream>>,
    shared: Arc<Shared>,
    encrypted: bool,
    logged_in: bool,
    from: Option<String>,
    to: Vec<String>,
}

impl Session {
    pub(super) fn new(stream: Box<dyn Stream>, shared: Arc<Shared>) -> Self {
        let stream = BufReader::new(stream);
        Self { stream, shared, encrypted: false, logged_in: false, from: None, to: Vec::new() }
    }

    /// Talks until the client quits.
    pub(super) async fn serve(mut self) -> Result<()> {
        if self.shared.options.tls == Tls::Implicit {
            self = self.encrypt().await?;
        }
        if !self.answer(Step::Connect, "220 sink ESMTP ready").await? {
            return Ok(());
        }
        loop {
            let line = self.read_line().await?;
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.ehlo().await?,
                "STARTTLS" => self = self.start_tls().await?,
                "AUTH" => self.auth(rest).await?,
                "MAIL" => self.mail(rest).await?,
                "RCPT" => self.rcpt(rest).await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.forget();
                    self.write("250 2.0.0 forgotten").await?;
                }
                "NOOP" => self.write("250 2.0.0 still here").await?,
                "QUIT" => return self.write("221 2.0.0 bye").await,
                _ => self.write("500 5.5.2 unknown command").await?,
            }
        }
    }

    async fn ehlo(&mut self) -> Result<()> {
        let options = self.shared.options.clone();
        let mut lines =
            vec!["250-sink".to_owned(), "250-8BITMIME".to_owned(), "250-ENHANCEDSTATUSCODES".to_owned()];
        if options.tls == Tls::StartTls && !self.encrypted {
            lines.push("250-STARTTLS".to_owned());
        } else if options.login.is_some() {
            let mechanisms = if options.login_mechanism_only { "LOGIN" } else { "PLAIN LOGIN" };
            lines.push(format!("250-AUTH {mechanisms}"));
        }
        lines.push("250 SMTPUTF8".to_owned());
        self.forget();
        self.answer(Step::Ehlo, &lines.join("\r\n")).await?;
        Ok(())
    }

    async fn start_tls(mut self) -> Result<Self> {
        if self.shared.options.tls != Tls::StartTls || self.encrypted {
            self.write("503 5.5.1 no STARTTLS here").await?;
            return Ok(self);
        }
        if self.answer(Step::StartTls, "220 2.0.0 go ahead").await? {
            self = self.encrypt().await?;
        }
        Ok(self)
    }

    async fn encrypt(self) -> Result<Self> {
        let Some(certificate) = &self.shared.certificate else { bail!("no certificate was made") };
        let stream = certificate.accept(self.stream.into_inner()).await?;
        Ok(Self { stream: BufReader::new(Box::new(stream)), encrypted: true, ..self })
    }

    async fn auth(&mut self, rest: &str) -> Result<()> {
        let Some((user, password)) = self.shared.options.login.clone() else {
            return self.write("502 5.5.1 no AUTH here").await;
        };
        if self.needs_tls() {
            return self.write("538 5.7.11 TLS first").await;
        }
        let given = match rest.split_once(' ') {
            Some(("PLAIN", initial)) => decode(initial)?.split('\0').skip(1).map(str::to_owned).collect(),
            None if rest == "LOGIN" => vec![self.ask("Username:").await?, self.ask("Password:").await?],
            _ => return self.write("504 5.5.4 unknown mechanism").await,
        };
        if given != [user, password] {
            return self.write("535 5.7.8 wrong user or password").await;
        }
        self.logged_in = self.answer(Step::Auth, "235 2.7.0 welcome").await?;
        Ok(())
    }

    async fn ask(&mut self, question: &str) -> Result<String> {
        self.write(&format!("334 {}", BASE64_STANDARD.encode(question))).await?;
        decode(&self.read_line().await?)
    }

    async fn mail(&mut self, rest: &str) -> Result<()> {
        let refusal = if self.needs_tls() {
            Some("530 5.7.0 STARTTLS first")
        } else if self.shared.options.login.is_some() && !self.logged_in {
            Some("530 5.7.0 AUTH first")
        } else if self.from.is_some() {
            Some("503 5.5.1 one mail at a time")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.write(refusal).await;
        }
        let Some(from) = path(rest, "FROM:") else { return self.write("501 5.5.4 bad sender").await };
        if self.answer(Step::Mail, "250 2.1.0 sender ok").await? {
            self.from = Some(from);
        }
        Ok(())
    }

    async fn rcpt(&mut self, rest: &str) -> Result<()> {
        if self.from.is_none() {
            return self.write("503 5.5.1 MAIL first").await;
        }
        let Some(to) = path(rest, "TO:") else { return self.write("501 5.5.4 bad recipient").await };
        self.to.push(to);
        if !self.answer(Step::Rcpt, "250 2.1.5 recipient ok").await? {
            self.to.pop();
        }
        Ok(())
    }

    async fn data(&mut self) -> Result<()> {
        if self.to.is_empty() {
            return self.write("503 5.5.1 RCPT first").await;
        }
        if !self.answer(Step::Data, "354 end with a dot").await? {
            self.forget();
            return Ok(());
        }
        let mut raw = Vec::new();
        loop {
            let line = self.read_line().await?;
            if line == "." {
                break;
            }
            raw.extend_from_slice(line.strip_prefix('.').unwrap_or(&line).as_bytes());
            raw.extend_from_slice(b"\r\n");
            if raw.len() > LONGEST_MAIL {
                bail!("a mail without an end");
            }
        }
        let to = self.to.clone();
        let fault = self.shared.script.at(Step::EndOfData, &to).await;
        if matches!(fault, None | Some(Fault::LoseReply)) {
            let from = self.from.clone().unwrap_or_default();
            let mail = Mail { encrypted: self.encrypted, from, to, ..Mail::parse(raw) };
            self.shared.mails.send_modify(|mails| mails.push(mail));
        }
        self.forget();
        self.write_or_fail(fault, "250 2.0.0 taken").await?;
        Ok(())
    }

    fn needs_tls(&self) -> bool {
        self.shared.options.tls == Tls::StartTls && !self.encrypted
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
    }

    /// Answers rightly (true), or as the script wants (false).
    async fn answer(&mut self, step: Step, right: &str) -> Result<bool> {
        let fault = self.shared.script.at(step, &self.to).await;
        self.write_or_fail(fault, right).await
    }

    async fn write_or_fail(&mut self, fault: Option<Fault>, right: &str) -> Result<bool> {
        match fault {
            None => self.write(right).await.map(|()| true),
            Some(Fault::Reply(code, text)) => self.write(&format!("{code} {text}")).await.map(|()| false),
            Some(Fault::Drop | Fault::LoseReply) => bail!("dropped, as the script wants"),
            Some(Fault::Stall) => bail!("the script sits stalls out"),
        }
    }

    async fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).await? == 0 {
            bail!("the client hung up");
        }
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        let line = Line { encrypted: self.encrypted, text: text.clone() };
        self.shared.lines.send_modify(|lines| lines.push(line));
        Ok(text)
    }

    async fn write(&mut self, reply: &str) -> Result<()> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }
}

/// The address in `FROM:<address> PARAMETERS`.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let after = rest.get(keyword.len()..).filter(|_| rest.to_ascii_uppercase().starts_with(keyword))?;
    let (address, _) = after.trim_start().strip_prefix('<')?.split_once('>')?;
    Some(address.to_owned())
}

fn decode(text: &str) -> Result<String> {
    Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
}
