import java.io.FileInputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Client KIND URL COUNT: HttpURLConnection ("url") or java.net.http ("http"). */
public class Client {
    public static void main(String[] args) throws Exception {
        SSLContext tls = trusting(System.getenv("SSL_CERT_FILE"));
        HttpsURLConnection.setDefaultSSLSocketFactory(tls.getSocketFactory());
        int count = Integer.parseInt(args[2]);
        int ok = 0;
        String last = "";
        for (int i = 0; i < count; i++) {
            try {
                int status = args[0].equals("url") ? byUrl(args[1]) : byHttp(args[1], tls);
                if (status == 200) ok++;
            } catch (Exception error) {
                last = error.toString();
            }
        }
        System.out.printf("{\"ok\": %d, \"failed\": %d, \"last\": \"%s\"}%n", ok, count - ok, last.replace("\"", "'"));
    }

    static int byUrl(String url) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setConnectTimeout(20000);
        connection.setReadTimeout(20000);
        int status = connection.getResponseCode();
        connection.getInputStream().readAllBytes();
        return status;
    }

    static int byHttp(String url, SSLContext tls) throws Exception {
        HttpClient client = HttpClient.newBuilder().sslContext(tls).connectTimeout(Duration.ofSeconds(20)).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode();
    }

    static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (FileInputStream in = new FileInputStream(file)) {
            store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        return tls;
    }
}
