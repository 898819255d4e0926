-- The rows of sql/products.sql, computed for all products at once: for tables without the indexes of sql/schema.sql.
SELECT Product.Id        AS id,
       Product.Title     AS title,
       first_image.Url   AS url,
       best_text.Content AS description
FROM Product
LEFT JOIN (
    SELECT DISTINCT ON (ProductImages.ProductId) ProductImages.ProductId, Image.Url
    FROM ProductImages
    JOIN Image ON Image.Id = ProductImages.ImageId
    WHERE ProductImages.ImageIndex = 0
    ORDER BY ProductImages.ProductId, ProductImages.ImageId
) AS first_image ON first_image.ProductId = Product.Id
LEFT JOIN (
    SELECT DISTINCT ON (ProductDescription.ProductId) ProductDescription.ProductId, candidate.Content
    FROM ProductDescription
    CROSS JOIN LATERAL (VALUES (1, TranslatedText), (2, OriginalText)) AS candidate (Rank, Content)
    WHERE ProductDescription.CountryCode = 'us'
      -- A text counts when it has a character other than white space and zero-width characters.
      AND candidate.Content ~
          '[^\t-\r\u001C-\u0020\u0085\u00A0\u1680\u2000-\u200B\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]'
    ORDER BY ProductDescription.ProductId, candidate.Rank, ProductDescription.Id
) AS best_text ON best_text.ProductId = Product.Id
ORDER BY Product.Id;
