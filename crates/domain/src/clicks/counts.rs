//! What is counted of clicks and views.

use std::ops::AddAssign;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, QueryableByName)]
pub struct Counts {
    /// Clicks of people.
    #[diesel(sql_type = BigInt)]
    pub clicks: i64,
    /// Of these, the first of a visitor on a day.
    #[diesel(sql_type = BigInt)]
    pub unique_clicks: i64,
    /// Clicks of robots, prefetches and HEAD requests.
    #[diesel(sql_type = BigInt)]
    pub robot_clicks: i64,
    /// Clicks of the owner.
    #[diesel(sql_type = BigInt)]
    pub own_clicks: i64,
    /// Views by people.
    #[diesel(sql_type = BigInt)]
    pub views: i64,
    /// Of these, the first of a visitor on a day.
    #[diesel(sql_type = BigInt)]
    pub unique_views: i64,
    /// Views by robots, prefetches and HEAD requests.
    #[diesel(sql_type = BigInt)]
    pub robot_views: i64,
    /// Views by the owner.
    #[diesel(sql_type = BigInt)]
    pub own_views: i64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.clicks += other.clicks;
        self.unique_clicks += other.unique_clicks;
        self.robot_clicks += other.robot_clicks;
        self.own_clicks += other.own_clicks;
        self.views += other.views;
        self.unique_views += other.unique_views;
        self.robot_views += other.robot_views;
        self.own_views += other.own_views;
    }
}
