-- The catalogue as the case draws it. Names are not quoted, so PostgreSQL folds them: ProductId and productid are the same.
-- No key is unique but the four of the rows themselves; duplicates are things that happen, and the query answers for them.

CREATE TABLE Product (
    Id    bigint PRIMARY KEY,
    Title text NOT NULL
);

CREATE TABLE Image (
    Id  bigint PRIMARY KEY,
    Url text NOT NULL
);

-- Three columns and no key, as in the case: the same image may be listed twice, even at the same index.
CREATE TABLE ProductImages (
    ProductId  bigint NOT NULL REFERENCES Product (Id),
    ImageId    bigint NOT NULL REFERENCES Image (Id),
    ImageIndex integer NOT NULL
);

CREATE TABLE ProductDescription (
    Id             bigint PRIMARY KEY,
    ProductId      bigint NOT NULL REFERENCES Product (Id),
    CountryCode    text NOT NULL,
    OriginalText   text,
    TranslatedText text
);

-- What the query looks up: one product's images at an index, in the order in which they win; one product's texts of a country.
CREATE INDEX ProductImages_by_index ON ProductImages (ProductId, ImageIndex, ImageId);
CREATE INDEX ProductDescription_by_country ON ProductDescription (ProductId, CountryCode, Id);
