DROP TABLE thumbnails, links, avatars, profiles;
