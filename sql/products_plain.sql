-- Every product with its image at index 0 and its US text.
-- For data without duplicates and empty texts; sql/products.sql handles both.
SELECT Product.Title AS title,
       Image.Url     AS url,
       COALESCE(us.TranslatedText, us.OriginalText) AS description
FROM Product
LEFT JOIN ProductImages AS first_image
       ON first_image.ProductId = Product.Id
      AND first_image.ImageIndex = 0
LEFT JOIN Image
       ON Image.Id = first_image.ImageId
LEFT JOIN ProductDescription AS us
       ON us.ProductId = Product.Id
      AND us.CountryCode = 'us'
ORDER BY Product.Id;
