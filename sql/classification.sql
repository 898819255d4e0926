-- The model's latest prediction for each product, one row a product. The script may run again.
CREATE TABLE IF NOT EXISTS product_classification (
    -- No foreign key: a product that is deleted while it is being scored must not keep the others from being written.
    -- The type of Product.Id: bigint, text or uuid.
    product_id    bigint PRIMARY KEY,
    model_version text NOT NULL,
    product_group text,
    confidence    double precision CHECK (confidence BETWEEN 0 AND 1),
    abstain       boolean NOT NULL,
    -- Why there is no group; or, where an earlier group stays, why the product could not be scored again.
    failure       text,
    scored_at     timestamptz NOT NULL,
    -- Digests of what was scored: title, URL and description together, and the content behind the URL.
    fingerprint   text NOT NULL,
    image_content text,
    -- The URL of the image that was scored, or that could not be fetched.
    url           text,
    CHECK (product_group IS NOT NULL OR failure IS NOT NULL),
    CHECK ((product_group IS NULL) = (confidence IS NULL))
);
-- A table of an earlier version has no URLs.
ALTER TABLE product_classification ADD COLUMN IF NOT EXISTS url text;

-- Products for human review, the least certain first, without products that are no longer in the catalogue.
CREATE OR REPLACE VIEW product_to_review AS
SELECT product_id, title, coalesce(failure, 'the model abstains') AS reason,
       product_group, confidence, model_version, scored_at, product_classification.url
FROM product_classification
JOIN Product ON Product.Id = product_id
WHERE abstain OR failure IS NOT NULL
ORDER BY confidence NULLS FIRST, product_id;
