-- The catalogue of the case. Names are not quoted, so PostgreSQL folds them: ProductId and productid are the same.
-- Only the row ids are unique. Duplicates occur, and the query handles them.

CREATE TABLE Product (
    Id    bigint PRIMARY KEY,
    Title text NOT NULL
);

CREATE TABLE Image (
    Id  bigint PRIMARY KEY,
    Url text NOT NULL
);

-- Three columns and no key, as in the case: the same image may occur twice, even at the same index.
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

-- For the query's look-ups: a product's images at an index, by image id, and a product's texts for a country.
CREATE INDEX ProductImages_by_index ON ProductImages (ProductId, ImageIndex, ImageId);
CREATE INDEX ProductDescription_by_country ON ProductDescription (ProductId, CountryCode, Id);
