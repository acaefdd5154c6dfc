//! `/api/profile/`: what the caller's page says about them, and how it looks.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::pages::{self, Bio, DisplayName, Network, PictureKind, ProfileEdit, Social, Theme};
use domain::{accounts, rewards};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{Shared, State};
use crate::auth::Caller;
use crate::body::{Complaint, Fields, pick};
use crate::problem::{FieldCode, Problem};
use crate::reply::{self, Disabled};

/// A profile, as its owner sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Profile)]
pub(super) struct Reply {
    /// Where the page is.
    page_url: String,
    /// The name on the page; empty for the username.
    display_name: String,
    /// A few lines.
    bio: String,
    /// The picture.
    avatar_url: Option<String>,
    /// The chosen theme. One that wants premium shows as the default while there is none.
    theme: &'static str,
    /// Whether search engines may list the page.
    listed: bool,
    /// Places elsewhere, in the order shown.
    social: Vec<Place>,
    /// Whether anybody sees the page: once the address is confirmed, and unless a manager took it down.
    public: bool,
    /// Whether one has premium now.
    premium: bool,
    /// How many links and headers the page may have.
    links_limit: u32,
    /// Raised by every change of the page.
    version: i64,
    /// When the page last changed.
    updated_at: DateTime<Utc>,
    /// Set when a manager took the page down.
    disabled: Option<Disabled>,
}

/// A place elsewhere.
#[derive(Serialize, ToSchema)]
#[schema(as = SocialPlace)]
pub(super) struct Place {
    /// The network, such as `mastodon`; `website` and `email` are two of them.
    pub(super) network: &'static str,
    /// The address there.
    pub(super) url: String,
}

impl From<&Social> for Place {
    fn from(social: &Social) -> Self {
        Self { network: social.network.as_str(), url: social.url.to_string() }
    }
}

/// What may be changed. What is left out stays; `null` takes back to what it was at first.
#[derive(ToSchema)]
#[schema(as = ProfilePatch)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Patch {
    #[schema(max_length = 60, example = "Ada Lovelace")]
    display_name: Option<String>,
    /// May have lines.
    #[schema(max_length = 500)]
    bio: Option<String>,
    /// `aurora` needs premium.
    #[schema(pattern = "^(paper|slate|meadow|dusk|coral|harbour|aurora)$")]
    theme: Option<String>,
    #[schema(nullable = false)]
    listed: Option<bool>,
    #[schema(max_items = 12)]
    social: Option<Vec<PlacePatch>>,
}

/// A place elsewhere; its address must be one of the network.
#[derive(ToSchema)]
#[schema(as = SocialPlacePatch)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct PlacePatch {
    #[schema(example = "github")]
    network: String,
    #[schema(max_length = 2048, example = "https://github.com/ada")]
    url: String,
}

/// The answer with a profile.
pub(super) async fn answer(
    state: &State,
    caller: Caller,
    profile: pages::Profile,
) -> Result<HttpResponse, Problem> {
    let account = accounts::find(&state.pool, caller.user_id).await?.ok_or_else(Problem::unauthenticated)?;
    let premium = rewards::is_premium(&state.pool, caller.user_id, state.clock.now()).await?;
    let limits = state.config.links;
    let reply = Reply {
        page_url: reply::page_url(state, &account.username),
        avatar_url: profile
            .avatar
            .as_ref()
            .map(|digest| reply::picture_url(state, PictureKind::Avatar, digest)),
        theme: profile.theme().as_str(),
        social: profile.social().iter().map(Place::from).collect(),
        display_name: profile.display_name,
        bio: profile.bio,
        listed: profile.listed,
        public: account.email_verified_at.is_some() && profile.disabled_at.is_none(),
        premium,
        links_limit: if premium { limits.premium } else { limits.free },
        version: profile.version,
        updated_at: profile.updated_at,
        disabled: Disabled::new(profile.disabled_reason),
    };
    Ok(HttpResponse::Ok().json(reply))
}

/// One's profile
#[utoipa::path(
    get, path = "/api/profile/", tag = "pages",
    responses((status = 200, description = "The profile", body = Reply)),
)]
pub(super) async fn get(state: Shared, caller: Caller) -> Result<HttpResponse, Problem> {
    let profile = pages::profile(&state.pool, caller.user_id).await?.ok_or_else(Problem::unauthenticated)?;
    answer(&state, caller, profile).await
}

/// Change one's profile
///
/// A JSON merge patch: what is left out stays, `null` clears. It shows on the page within a second.
#[utoipa::path(
    patch, path = "/api/profile/", tag = "pages", request_body = Patch,
    responses((status = 200, description = "The profile", body = Reply)),
)]
pub(super) async fn patch(
    state: Shared,
    caller: Caller,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let no_name = DisplayName::default();
    let display_name =
        fields.merged("display_name", no_name, |fields, name| fields.words(name, DisplayName::parse));
    let bio = fields.merged("bio", Bio::default(), |fields, name| fields.words(name, Bio::parse));
    let theme = fields.merged("theme", Theme::default(), theme);
    let listed = fields.replaced("listed", Fields::flag);
    let social = fields.merged("social", Vec::new(), places);
    if let Some(Some(theme)) = theme
        && theme.is_premium()
        && !rewards::is_premium(&state.pool, caller.user_id, state.clock.now()).await?
    {
        fields.error("theme", FieldCode::PremiumNeeded);
    }
    let (display_name, bio, theme, listed, social) =
        fields.finish((display_name, bio, theme, listed, social))?;
    let edit = ProfileEdit { display_name, bio, theme, listed, social };
    let profile = pages::edit_profile(&state.pool, state.clock.now(), caller.user_id, &edit).await?;
    answer(&state, caller, profile).await
}

fn theme(fields: &mut Fields, name: &str) -> Option<Theme> {
    fields.parse(name, |text| pick(&Theme::ALL.map(|theme| (theme.as_str(), theme)), text))
}

fn places(fields: &mut Fields, name: &str) -> Option<Vec<Social>> {
    fields.objects(name, Social::MOST, |item| {
        let network = item.parse("network", |text| Network::parse(text).ok_or(FieldCode::InvalidValue));
        let url = item.words("url", |text| Ok::<_, Complaint>(text.to_owned()));
        let (network, url) = (network?, url?);
        Social::parse(network, &url).map_err(|error| item.error("url", error)).ok()
    })
}
