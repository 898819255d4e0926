-- What the model says of each product: its latest answer, one row a product. May be run again.
CREATE TABLE IF NOT EXISTS product_classification (
    -- No foreign key: a product that is deleted while it is being scored must not keep the others from being written.
    product_id    bigint PRIMARY KEY,
    model_version text NOT NULL,
    product_group text,
    confidence    double precision CHECK (confidence BETWEEN 0 AND 1),
    abstain       boolean NOT NULL,
    -- Why there is no group; or why there is none of what the product is now, where its earlier one was kept.
    failure       text,
    scored_at     timestamptz NOT NULL,
    -- What was scored: title, URL and description in one, and what the URL gave.
    fingerprint   text NOT NULL,
    image_content text,
    CHECK (product_group IS NOT NULL OR failure IS NOT NULL),
    CHECK ((product_group IS NULL) = (confidence IS NULL))
);

-- What needs a human, the least certain first. Products that are gone need nobody.
CREATE OR REPLACE VIEW product_to_review AS
SELECT product_id, title, coalesce(failure, 'the model abstains') AS reason,
       product_group, confidence, model_version, scored_at
FROM product_classification
JOIN Product ON Product.Id = product_id
WHERE abstain OR failure IS NOT NULL
ORDER BY confidence NULLS FIRST, product_id;
